-- What the drivers' reads for gates are made of.
local M = {}

--- { name = true, … }
function M.set(...)
    local found = {}
    for _, name in ipairs { ... } do
        found[name] = true
    end
    return found
end

--- The same reason for several fields.
function M.because(reason, ...)
    local why = {}
    for _, name in ipairs { ... } do
        why[name] = reason
    end
    return why
end

--- Adds the exact rows of `tables`, { { name, row }, … }, to `found`; `quoted(row)` is how a statement names one, and `batch` how
--- many a statement may name.
function M.row_counts(query, tables, quoted, batch, found)
    for from = 1, #tables, batch do
        local selects = {}
        for i = from, math.min(from + batch - 1, #tables) do
            selects[#selects + 1] = ("(SELECT count(*) FROM %s) AS n%d"):format(quoted(tables[i].row), i)
        end
        local counted = query("SELECT " .. table.concat(selects, ", "))[1]
        for i = from, math.min(from + batch - 1, #tables) do
            found[tables[i].name] = counted["n" .. i]
        end
    end
    return found
end

return M
