-- A user's own .sql dump: known by its content, whole when it has the trailer that its program writes last.
local native, rt, work = ...

local plain = {}
local HEAD, TAIL = 4096, 1024

local KINDS = {
    { driver = "mysql", name = "mysqldump's or mariadb-dump's", head = "%-%- %a+ dump [%d.]+", tail = "%-%- Dump completed" },
    { driver = "pg", name = "pg_dump's", head = "%-%- PostgreSQL database dump", tail = "%-%- PostgreSQL database dump complete" },
}

-- What is something else, by its first bytes, and what to do about it.
local OTHERS = {
    { "^PGDMP", "is pg_dump's custom format: db:restore takes plain .sql; pg_restore -f dump.sql makes one of it" },
    { "^PK\3\4", "is a zip archive: unpack it first" },
    { "^\xfd7zXZ", "is compressed by xz: xz -dk unpacks it" },
    { "^BZh", "is compressed by bzip2: bzip2 -dk unpacks it" },
    { "^\x28\xb5\x2f\xfd", "is compressed by zstd: zstd -d unpacks it" },
    { "^[%-%s]+PostgreSQL database cluster dump", "is pg_dumpall's, of a whole cluster: make one of this database by pg_dump" },
}

-- Comments and a foreign format's first line only: what a command prints is kept in the run's log, and rows do not belong there.
local PART = {
    head = [[{ gzip -dc -- "$1" || [ $? -eq 141 ]; } | head -c "$2" | LC_ALL=C sed -n '/^--.*[Dd]ump/p; 1s/^PGDMP.*/PGDMP/p']],
    tail = [[gzip -dc -- "$1" | tail -c "$2" | LC_ALL=C sed -n '/^--.*[Dd]ump/p']],
}

-- A part of a compressed file; what breaks off in the middle does not get that far.
local function unpacked(driver, job, path, part, bytes)
    local command = work.start(job.ctx, part, { argv = { "bash", "--norc", "-eu", part == "tail" and "-o" or "+o", "pipefail", "-c",
        PART[part], part, path, tostring(bytes) } })
    work.see_through(command)
    return work.check(driver, command, "backup_damaged", "gzip -dc " .. path).out
end

local function kind_of(driver, path, head)
    for _, other in ipairs(OTHERS) do
        if head:find(other[1]) then
            rt.raise("unsupported", string.format("%s: %s %s", driver.name, path, other[2]))
        end
    end
    for _, kind in ipairs(KINDS) do
        if head:find(kind.head) then
            return kind
        end
    end
    rt.raise("unsupported", string.format("%s: %s is no dump: it does not begin as what mysqldump or pg_dump writes (a dump"
        .. " without comments cannot be told from a broken one)", driver.name, path))
end

--- → { path, gzip } of a file that this driver can load, or what the driver makes of an archive of its own kind; raises
--- where it is none, or not whole.
function plain.recognise(driver, job, path)
    local archive = driver.backup.recognise and driver.backup.recognise(job, path)
    if archive then
        return archive
    end
    local found = work.file("stat", path)
    if not found or found.type ~= "file" then
        rt.raise("backup_damaged", string.format("%s: %s is %s", driver.name, path, found and "no file" or "not there"))
    end
    local head = native.head(path, HEAD)
    local gzip = head:find("^\x1f\x8b") ~= nil
    if gzip then
        head = unpacked(driver, job, path, "head", HEAD)
    end
    local kind = kind_of(driver, path, head)
    if kind.driver ~= driver.name then
        rt.raise("unsupported", string.format("%s: %s is %s: that is for rollout.%s", driver.name, path, kind.name,
            kind.driver))
    end
    local tail = gzip and unpacked(driver, job, path, "tail", TAIL) or native.tail(path, TAIL)
    if not tail:find(kind.tail) then
        rt.raise("backup_damaged", string.format("%s: %s ends without %s last line, so it is not whole; nothing was touched",
            driver.name, path, kind.name))
    end
    return { path = path, gzip = gzip }
end

return plain
