-- What people are told of a backup and of a restore, where they look first: beside the step.
local told = {}

local function size(bytes)
    if bytes < 1 << 20 then
        return ("%d KiB"):format((bytes + 1023) >> 10)
    end
    return bytes >= 10 << 30 and ("%.1f GiB"):format(bytes / (1 << 30)) or ("%d MiB"):format(bytes >> 20)
end

local function counted(n, what)
    return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end

-- "3 rows in orders (2), users (1)"
local function rows_in(n, tables)
    local names = {}
    for name, rows in pairs(tables or {}) do
        names[#names + 1] = ("%s (%d)"):format(name, rows)
    end
    local rest = #names - 10
    return counted(n, "row") .. " in " .. table.concat(names, ", ", 1, math.min(#names, 10))
        .. (rest > 0 and (" and %d more tables"):format(rest) or "")
end

local function with_notes(parts, notes)
    for _, line in ipairs(notes or {}) do
        parts[#parts + 1] = line
    end
    return table.concat(parts, "; ")
end

local PROOF = { [true] = "proven by a restore", clone = "proven by a clone", [false] = "NOT proven" }

function told.dump(result)
    local parts = { ("%s: %s, %s in %s, %s"):format(result.path, size(result.bytes), counted(result.rows, "row"),
        counted(result.tables, "table"), PROOF[result.verified] or "proven") }
    if result.shape then
        parts[#parts + 1] = result.shape .. (result.why and " (" .. result.why .. ")" or "")
    end
    if result.scratch then
        parts[#parts + 1] = ("%s stands ready for a rollback and takes %s of the server's disk until the run has ended")
            :format(result.scratch, size(result.scratch_bytes or 0))
    end
    return with_notes(parts, result.notes)
end

function told.restore(result)
    local parts = { ("%s holds %s again: %s in %s"):format(result.database, result.file, counted(result.rows, "row"),
        counted(result.tables, "table")) }
    if (result.lost_rows or 0) > 0 then
        parts[#parts + 1] = "lost: at least " .. rows_in(result.lost_rows, result.lost)
    elseif result.mode ~= "into" then
        parts[#parts + 1] = "nothing was lost"
    end
    if result.kept then
        parts[#parts + 1] = ("what was there is kept as %s, until you drop it"):format(result.kept)
    end
    if (result.written_after_rows or 0) > 0 then
        parts[#parts + 1] = "written since it is back: " .. rows_in(result.written_after_rows, result.written_after)
    end
    return with_notes(parts, result.notes)
end

return told
