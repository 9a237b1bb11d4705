#include "statement.h"

#include <stdlib.h>

enum { FIRST_OWN_TYPE = 16384 };

static const struct rh_pg_array *known_type(const rh_pg *connection, unsigned type)
{
    for (size_t i = 0; i < connection->array_count; i++)
        if (connection->arrays[i].type == type)
            return &connection->arrays[i];
    return NULL;
}

static void remember_type(rh_pg *connection, unsigned type, unsigned element)
{
    size_t size = (connection->array_count + 1) * sizeof *connection->arrays;
    connection->arrays = rh_realloc(connection->arrays, size);
    connection->arrays[connection->array_count++] = (struct rh_pg_array){type, element};
}

bool rh_pg_types_query(const rh_pg *connection, const rh_pg_statement *op, rh_buffer *sql)
{
    size_t count = 0;
    rh_buffer_adds(
        sql, "SELECT oid, CASE typcategory WHEN 'A' THEN typelem ELSE 0 END FROM pg_catalog.pg_type"
             " WHERE oid IN (");
    for (size_t i = 0; i < op->column_count; i++)
        if (op->columns[i].type >= FIRST_OWN_TYPE && !known_type(connection, op->columns[i].type))
            rh_buffer_addf(sql, "%s%u", count++ > 0 ? "," : "", op->columns[i].type);
    rh_buffer_adds(sql, ")");
    return count > 0;
}

void rh_pg_types_take(rh_pg *connection, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++)
        remember_type(connection, (unsigned)strtoul(PQgetvalue(result, row, 0), NULL, 10),
                      (unsigned)strtoul(PQgetvalue(result, row, 1), NULL, 10));
}

void rh_pg_types_set(const rh_pg *connection, rh_pg_statement *op)
{
    for (size_t i = 0; i < op->column_count; i++) {
        const struct rh_pg_array *type = known_type(connection, op->columns[i].type);
        op->columns[i].element = type ? type->element : 0;
    }
}
