-- losses: what a restore would take away. Fingerprints taken when the migration had ended tell what was written since.
local losses = {}

--- { rows, where }: rows of `db` that differ from the fingerprints `since`: at least the difference of each table's count,
--- at least one where a table of the same count differs.
function losses.since(db, since)
    local rows, where = 0, {}
    for name, now in pairs(db:fingerprints().tables) do
        local old = since.tables[name]
        if not old or old.rows ~= now.rows or old.hash ~= now.hash then
            local count = math.max(1, math.abs(now.rows - (old and old.rows or 0)))
            rows = rows + count
            where[#where + 1] = ("%s (%d)"):format(name, count)
        end
    end
    return { rows = rows, where = table.concat(where, ", ") }
end

return losses
