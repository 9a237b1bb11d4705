-- Archives in folders and in S3: a file or a folder, and its manifest beside it, PATH.manifest.json. An archive is whole when
-- its bytes are those that the manifest names; a manifest when it is the one that the run recorded.
local native, rt, work = ...

local archive = {}
local PRIVATE, PRIVATE_FOLDER = 384, 448 -- 0600, 0700
local LARGEST_MANIFEST = 256 << 20
local AT_ONCE = 8 -- files on their way to a bucket or back

function archive.manifest_path(path)
    return path .. ".manifest.json"
end

function archive.is_folder(path)
    local found = work.file("stat", path)
    return found and found.type == "directory"
end

local function sorted(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end

--- What the archive at `path` is made of: { bytes, sha256 } of a file; { bytes, files = { name = { bytes, sha256 } } }.
function archive.measure(path)
    if not archive.is_folder(path) then
        return { bytes = native.size(path), sha256 = work.file("sha256", path) }
    end
    local files = {}
    for _, name in ipairs(work.file("list", path)) do
        local file = path .. "/" .. name
        files[name] = { bytes = native.size(file), sha256 = work.file("sha256", file) }
    end
    return { bytes = native.size(path), files = files }
end

function archive.read_manifest(path)
    local text = work.file("read", archive.manifest_path(path), { limit = LARGEST_MANIFEST })
    local ok, manifest = pcall(rt.json.decode, text)
    if not ok or type(manifest) ~= "table" then
        rt.raise("backup_damaged", archive.manifest_path(path) .. " is no manifest: " .. tostring(not ok and manifest.message))
    end
    return manifest, rt.sha256(text)
end

function archive.write_manifest(path, text)
    work.file("write", archive.manifest_path(path), { data = text, mode = PRIVATE })
end

--- Why the archive at `path` is not the one of that manifest; nil: it is.
function archive.damage(path, manifest)
    local size = native.size(path)
    if not size then
        return path .. " is not there"
    elseif not manifest.files then
        if archive.is_folder(path) or work.file("sha256", path) ~= manifest.sha256 then
            return string.format("%s (%d bytes) is not the file that was written: its checksum differs", path, size)
        end
        return nil
    end
    for _, name in ipairs(sorted(manifest.files)) do
        local file = path .. "/" .. name
        if not native.size(file) then
            return file .. " is not there"
        elseif work.file("sha256", file) ~= manifest.files[name].sha256 then
            return file .. " is not the file that was written: its checksum differs"
        end
    end
    for _, name in ipairs(work.file("list", path)) do
        if not manifest.files[name] then
            return path .. "/" .. name .. " does not belong there"
        end
    end
end

--- Why the manifest beside `path` cannot be used; nil and the manifest.
function archive.manifest_of(path, sha256)
    if not native.size(archive.manifest_path(path)) then
        return archive.manifest_path(path) .. " is not there"
    end
    local ok, manifest, found = pcall(archive.read_manifest, path)
    if not ok then
        return manifest.message
    elseif sha256 and found ~= sha256 then
        return archive.manifest_path(path) .. " is not the file that was written: its checksum differs"
    end
    return nil, manifest
end

-- ---- places ----

function archive.folder(path)
    work.file("mkdir", path, { mode = PRIVATE_FOLDER })
    return native.absolute(path)
end

--- A place of `also` as plain data: a folder, or { bucket = what s3.bucket makes a bucket of }.
function archive.place(where, given)
    if type(given) == "string" and not given:find("^s3://") then
        return given
    end
    local ok, bucket = pcall(function() return rt.require("s3").bucket(given) end)
    if not ok and type(given) == "string" then
        error(bucket, 0)
    elseif not ok then
        rt.raise("usage", string.format("%s is a %s, expected a folder, \"s3://bucket/prefix\" or an s3 bucket", where,
            type(given)))
    end
    return { bucket = bucket.where, url = tostring(bucket) }
end

function archive.place_name(place)
    return type(place) == "table" and place.url or place
end

local function copy_to_folder(path, folder, measured)
    local copy = folder .. "/" .. path:match("[^/]+$")
    if not measured.files then
        work.file("copy", path, { to = copy, mode = PRIVATE })
        return copy
    end
    native.remove(copy) -- of a host that died
    work.file("mkdir", copy, { mode = PRIVATE_FOLDER })
    for _, name in ipairs(sorted(measured.files)) do
        work.file("copy", path .. "/" .. name, { to = copy .. "/" .. name, mode = PRIVATE })
    end
    return copy
end

local function copy_to_bucket(path, place, measured)
    local bucket = rt.require("s3").bucket(place.bucket)
    local name = path:match("[^/]+$")
    -- the manifest says that all is there, so it comes last
    rt.each(measured.files and sorted(measured.files) or { false }, AT_ONCE, function(file)
        local from, entry = file and path .. "/" .. file or path, file and measured.files[file] or measured
        bucket:put { file = from, key = file and name .. "/" .. file or name, sha256 = entry.sha256 }
    end)
    bucket:put { file = archive.manifest_path(path), key = archive.manifest_path(name) }
    return place.url .. name
end

--- Copies a published archive and its manifest to a place; what is read there again must be the same. → path or URL
function archive.copy(path, place, measured, text)
    if type(place) == "table" then
        return copy_to_bucket(path, place, measured)
    end
    local copy = copy_to_folder(path, place, measured)
    local why = archive.damage(copy, measured)
    if why then
        rt.raise("checksum", "the copy differs from the backup: " .. why)
    end
    archive.write_manifest(copy, text)
    return copy
end

--- Brings the copy at an s3:// URL into a folder and returns its path there. `bucket`: as the backup's result has it.
function archive.fetch(url, bucket, folder)
    local name = url:match("[^/]+$")
    local source = rt.require("s3").bucket(bucket or url:sub(1, -#name - 2))
    local path = folder .. "/" .. name
    source:get { key = archive.manifest_path(name), to = archive.manifest_path(path), mode = "0600" }
    local manifest = archive.read_manifest(path)
    if not manifest.files then
        source:get { key = name, to = path, sha256 = manifest.sha256, mode = "0600" }
        return path
    end
    work.file("mkdir", path, { mode = PRIVATE_FOLDER })
    rt.each(sorted(manifest.files), AT_ONCE, function(file)
        source:get { key = name .. "/" .. file, to = path .. "/" .. file, sha256 = manifest.files[file].sha256, mode = "0600" }
    end)
    return path
end

--- Removes an archive, then what says that it is there.
function archive.remove(path)
    native.remove(path)
    native.remove(archive.manifest_path(path))
end

return archive
