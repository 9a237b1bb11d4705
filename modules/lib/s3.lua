-- s3: object storage by S3's protocol (AWS, MinIO, Ceph, R2, …). What is copied there is proven to have arrived: the request's
-- signature covers the SHA-256 of its bytes, the digest of the whole stands beside the object, and what is stored is read back.
local rt = select(2, ...)
local http, fs, time = require "rollout.http", require "rollout.fs", require "rollout.time"

local s3 = {}

local MiB = 1024 * 1024
-- A larger file goes in parts. A part is what is sent again when a connection breaks, and several are under way at once: one
-- connection seldom fills a line to a far place.
local WHOLE, PART = 64 * MiB, 16 * MiB
local MOST_PARTS, AT_ONCE = 10000, 4
local RETRY = { times = 5, backoff = "500ms", max = "20s", statuses = { 500 } }

local OPTIONS = {
    bucket = { "string", required = true }, prefix = "string", endpoint = "string", region = "string",
    access_key = "text", secret_key = "text", session_token = "text", path_style = "boolean", ca = "string",
}

-- ---- addresses ----

local function encoded(text)
    return (text:gsub("[^%w%-%._~/]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function base_of(where)
    if not where.endpoint and not where.path_style and not where.bucket:find(".", 1, true) then
        return ("https://%s.s3.%s.amazonaws.com"):format(where.bucket, where.region)
    end
    local endpoint = where.endpoint or ("https://s3.%s.amazonaws.com"):format(where.region)
    if where.path_style == false then
        return (endpoint:gsub("^(%a+://)", "%1" .. where.bucket:gsub("%%", "%%%%") .. "."))
    end
    return endpoint .. "/" .. encoded(where.bucket)
end

local function full_key(where, key)
    return where.prefix .. key
end

local function url_of(where, key)
    return base_of(where) .. "/" .. (key and encoded(full_key(where, key)) or "")
end

local function named(where, key)
    return ("s3://%s/%s"):format(where.bucket, full_key(where, tostring(key)))
end

-- ---- requests and what they answer ----

local ENTITIES = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'" }

local function plain(xml)
    return (xml:gsub("&(#?)(x?)(%w+);", function(number, hex, name)
        if number == "" then
            return ENTITIES[hex .. name]
        end
        return utf8.char(tonumber(name, hex == "x" and 16 or 10))
    end))
end

local function element(xml, name)
    local text = xml:match("<" .. name .. ">(.-)</" .. name .. ">")
    return text and plain(text)
end

-- What S3 calls it, what a playbook calls it, and what to do.
local CODES = {
    NoSuchBucket = { "no_bucket", "there is no such bucket at this endpoint" },
    NoSuchKey = { "not_found", "there is no such object" },
    NoSuchUpload = { "no_upload", "the upload was ended by somebody else" },
    InvalidAccessKeyId = { "access_denied", "the access key is not known there" },
    SignatureDoesNotMatch = { "access_denied", "the secret key is not the access key's" },
    AccessDenied = { "access_denied", "these keys may not do that" },
    ExpiredToken = { "access_denied", "the session token has expired" },
    RequestTimeTooSkewed = { "clock", "this machine's clock is not the server's: set it right" },
    AuthorizationHeaderMalformed = { "region", "the bucket is in another region" },
    PermanentRedirect = { "region", "the bucket is in another region, or has another endpoint" },
    NotImplemented = { "not_implemented", "this server does not do that" },
    XAmzContentSHA256Mismatch = { "checksum", "what arrived is not what was sent" },
}
local STATUSES = { [301] = CODES.PermanentRedirect, [403] = CODES.AccessDenied, [404] = CODES.NoSuchKey }

local function refuse(what, answer)
    local body = answer.body or ""
    local name = element(body, "Code")
    local known = CODES[name] or STATUSES[answer.status] or { "s3" }
    local region = element(body, "Region") or answer.headers["x-amz-bucket-region"]
    local message, facts = element(body, "Message"), {}
    facts[1] = name and (message and name .. ": " .. message or name)
    facts[#facts + 1] = known[2]
    facts[#facts + 1] = known[1] == "region" and region and "that is " .. region or nil
    if known[1] == "clock" then
        facts[#facts + 1] = ("the server's time is %s"):format(element(body, "ServerTime") or answer.headers.date or "not told")
    end
    rt.raise(known[1], ("%s: answered %d%s"):format(what, answer.status, #facts > 0 and " (" .. table.concat(facts, "; ") .. ")"
        or ""), { status = answer.status, s3 = name })
end

local function with(where, options)
    options.aws = { access_key = where.access_key, secret_key = where.secret_key, session_token = where.session_token,
        region = where.region }
    options.ca = where.ca
    options.retry = RETRY
    return options
end

-- All that S3 is asked is safe to be asked twice.
local function ask(where, method, key, options)
    options = with(where, options or {})
    options.idempotent = method == "POST" or nil
    return http.request(method, url_of(where, key), options)
end

local function demand(where, method, key, what, options)
    local answer = ask(where, method, key, options)
    -- the completion of an upload may answer 200 and mean an error
    if answer.status > 299 or answer.body:find "^%s*<%?xml[^>]*>%s*<Error>" or answer.body:find "^%s*<Error>" then
        refuse(what, answer)
    end
    return answer
end

-- ---- head, list, delete ----

local MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"

-- "Wed, 21 Oct 2015 07:28:00 GMT" → ms since 1970
local function moment(text)
    local day, month, year, clock = (text or ""):match("(%d%d) (%a%a%a) (%d%d%d%d) (%d%d:%d%d:%d%d) GMT")
    local at = month and MONTHS:find(month, 1, true)
    return at and time.parse(("%s-%02d-%sT%sZ"):format(year, (at + 2) // 3, day, clock))
end

local function head(where, key, what)
    local answer = ask(where, "HEAD", key)
    if answer.status == 404 then
        return nil
    elseif answer.status > 299 then
        refuse(what, answer)
    end
    local headers = answer.headers
    return { key = key, bytes = math.tointeger(tonumber(headers["content-length"])), etag = headers.etag,
        sha256 = headers["x-amz-meta-sha256"], modified = moment(headers["last-modified"]) }
end

-- Calls fn with each `name` element of all pages.
local function each(where, name, query, fn, what)
    repeat
        local answer = demand(where, "GET", nil, what, { query = query, max_body = "64MiB" })
        local xml = answer.body
        if not xml:find("<List%w+Result[%s>]") then
            rt.raise("s3", what .. ": the answer is no list; is this S3's protocol, and the endpoint right?")
        end
        for entry in xml:gmatch("<" .. name .. ">(.-)</" .. name .. ">") do
            if fn(entry) == false then
                return
            end
        end
        query["continuation-token"] = element(xml, "NextContinuationToken")
        query["key-marker"], query["upload-id-marker"] = element(xml, "NextKeyMarker"), element(xml, "NextUploadIdMarker")
    until element(xml, "IsTruncated") ~= "true"
end

local function list(where, prefix, limit, what)
    local found = rt.json.array {}
    each(where, "Contents", { ["list-type"] = "2", prefix = where.prefix .. prefix }, function(entry)
        if limit and #found >= limit then
            return false
        end
        found[#found + 1] = {
            key = element(entry, "Key"):sub(#where.prefix + 1), bytes = math.tointeger(tonumber(element(entry, "Size"))),
            modified = time.parse(element(entry, "LastModified")), etag = element(entry, "ETag"),
        }
    end, what)
    return found
end

-- ---- put ----

local function abort(where, key, upload)
    ask(where, "DELETE", key, { query = { uploadId = upload } })
end

-- An upload that a dead run has left is paid for until somebody ends it.
local function abort_leftovers(where, key, what)
    local wanted = full_key(where, key)
    local ok, why = pcall(each, where, "Upload", { uploads = "", prefix = wanted }, function(entry)
        if element(entry, "Key") == wanted then
            abort(where, key, element(entry, "UploadId"))
        end
    end, what)
    if not ok and not (type(why) == "table" and why.code == "not_implemented") then
        error(why, 0)
    end
end

-- What has come of it is no copy of anything.
local function changed(args)
    ask(args.where, "DELETE", args.key)
    rt.raise("changed", args.file .. " is not what was to be copied: something still writes it, or `sha256` is that of another"
        .. " file; what had come of it was deleted again")
end

local function put_whole(args, what)
    local sent = demand(args.where, "PUT", args.key, what, { file = args.file,
        headers = { ["x-amz-meta-sha256"] = args.sha256 } }).sent
    if not sent or sent.sha256 ~= args.sha256 then
        changed(args)
    end
    return 1
end

local function part_size(size)
    return math.max(PART, (size // MOST_PARTS // MiB + 1) * MiB)
end

local function send_parts(args, upload, size, ctx, what)
    local length, offsets, sent = part_size(size), {}, 0
    for offset = 0, size - 1, length do
        offsets[#offsets + 1] = offset
    end
    local xml = rt.each(offsets, AT_ONCE, function(offset, number)
        local bytes = math.min(length, size - offset)
        local answer = demand(args.where, "PUT", args.key, what, {
            query = { partNumber = number, uploadId = upload }, file = { path = args.file, offset = offset, size = bytes },
        })
        sent = sent + bytes
        ctx.progress(sent, size, "bytes")
        return ("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>"):format(number,
            ((answer.headers.etag or ""):gsub('"', "&quot;")))
    end)
    demand(args.where, "POST", args.key, what, { query = { uploadId = upload }, timeout = "10m",
        headers = { ["Content-Type"] = "application/xml" },
        body = "<CompleteMultipartUpload>" .. table.concat(xml) .. "</CompleteMultipartUpload>" })
    return #offsets
end

local function put_in_parts(args, size, ctx, what)
    abort_leftovers(args.where, args.key, what)
    local begun = demand(args.where, "POST", args.key, what, { query = { uploads = "" },
        headers = { ["x-amz-meta-sha256"] = args.sha256 } })
    local upload = element(begun.body, "UploadId")
    local ok, result = pcall(send_parts, args, upload, size, ctx, what)
    if not ok and not (type(result) == "table" and result.code == "no_upload") then
        pcall(abort, args.where, args.key, upload)
        error(result, 0)
    end
    if args.verify == "sent" and fs.sha256(args.file) ~= args.sha256 then -- no digest of all parts is told
        changed(args)
    end
    -- "no_upload": the answer to the completion was lost and the second one found nothing to do; the proof below decides
    return ok and result or math.ceil(size / part_size(size))
end

-- What stands there now; with verify = "read" hashed on its way back, which its headers come with.
local function stored(args, what)
    if args.verify == "sent" then
        return head(args.where, args.key, what)
    end
    local read = http.sha256(url_of(args.where, args.key), with(args.where, {}))
    return { bytes = read.bytes, sha256 = read.headers["x-amz-meta-sha256"], etag = read.headers.etag, read = read.sha256 }
end

local function prove(args, size, what)
    local there = stored(args, what)
    if not there or there.bytes ~= size or there.sha256 ~= args.sha256 then
        rt.raise("checksum", ("%s: the object that stands there is not what was sent (%s bytes, SHA-256 %s)"):format(what,
            there and there.bytes or "no", there and there.sha256 or "unknown"))
    elseif there.read and there.read ~= args.sha256 then
        ask(args.where, "DELETE", args.key)
        rt.raise("checksum", ("%s: what is stored reads back as %s, and %s was sent; it was deleted again"):format(what, there.read,
            args.sha256))
    end
    return there
end

-- ---- the public table ----

local Bucket = {}
local handle = rt.class("s3.bucket", Bucket, function(self)
    return named(self.where, "")
end)

local function key_of(key, call)
    if rt.is_unknown(key) then
        return key
    elseif type(key) ~= "string" or key == "" then
        rt.raise("usage", ("bucket:%s: key is the object's name, a text"):format(call))
    elseif #key > 1024 or key:find("%z") or not utf8.len(key) then
        rt.raise("usage", ("bucket:%s: the key %q is not UTF-8 text of at most 1024 bytes"):format(call, key))
    end
    return key
end

local function sha256_of(given, call)
    if given ~= nil and not rt.is_unknown(given) and not given:find("^" .. ("%x"):rep(64) .. "$") then
        rt.raise("usage", ("bucket:%s: sha256 is 64 hexadecimal digits"):format(call))
    end
    return type(given) == "string" and given:lower() or given
end

--- bucket:put{ file = "dump.gz", key = "2026/dump.gz", sha256 = hex?, verify = "read" | "sent" } copies a file and proves it:
--- → { url, key, bytes, sha256, etag, parts, verified }. `sha256`: what the file must have, if that is known already.
--- "read" reads the object back; "sent" trusts the server, which has compared the SHA-256 of what arrived with the signed one.
Bucket.put = rt.effect {
    name = "s3.put",
    class = "idempotent",
    args = function(self, options)
        local given = rt.options(options, { file = { "string", required = true }, key = { "string", required = true },
            sha256 = "string", verify = { "string", default = "read", one_of = { "read", "sent" } } }, "bucket:put")
        return { where = self.where, file = given.file, key = key_of(given.key, "put"), verify = given.verify,
            sha256 = sha256_of(given.sha256, "put") }
    end,
    describe = function(args)
        return ("copy %s to %s"):format(args.file, named(args.where, args.key))
    end,
    call = function(args, ctx)
        local what = ("copy %s to %s"):format(args.file, named(args.where, args.key))
        local there = fs.stat(args.file)
        if not there or there.type ~= "file" then
            rt.raise("io", what .. ": there is no such file")
        end
        args.sha256 = args.sha256 or fs.sha256(args.file)
        local size = there.size
        local parts = size > WHOLE and put_in_parts(args, size, ctx, what) or put_whole(args, what)
        local there_now = prove(args, size, what)
        return { url = named(args.where, args.key), key = args.key, bytes = size, sha256 = args.sha256, etag = there_now.etag,
            parts = parts, verified = args.verify }
    end,
    sample = function(args)
        local url = named(args.where, args.key)
        return { url = url, key = args.key, bytes = rt.unknown("bytes of " .. url), sha256 = rt.unknown("SHA-256 of " .. url),
            etag = rt.unknown("ETag of " .. url), parts = 1, verified = args.verify }
    end,
    exact = { "file", "key" },
}

--- bucket:get{ key = …, to = "dump.gz", sha256 = hex? } → { path, bytes, sha256, verified }: the file is whole, or not there.
--- It must have the given SHA-256, else the one that put() left beside the object; `verified` is false where there is neither.
Bucket.get = rt.effect {
    name = "s3.get",
    class = "idempotent",
    args = function(self, options)
        local given = rt.options(options, { key = { "string", required = true }, to = { "string", required = true },
            sha256 = "string", mode = "string" }, "bucket:get")
        return { where = self.where, key = key_of(given.key, "get"), to = given.to, sha256 = sha256_of(given.sha256, "get"),
            mode = given.mode }
    end,
    describe = function(args)
        return ("copy %s to %s"):format(named(args.where, args.key), args.to)
    end,
    call = function(args)
        local what = "get " .. named(args.where, args.key)
        local there = head(args.where, args.key, what)
        if not there then
            rt.raise("not_found", what .. ": there is no such object, or no such bucket")
        end
        local sha256 = args.sha256 or there.sha256
        local got = http.download(url_of(args.where, args.key), with(args.where, {
            to = args.to, sha256 = sha256, mode = args.mode, headers = there.etag and { ["If-Match"] = there.etag } or nil,
        }))
        return { path = got.path, bytes = got.bytes, sha256 = got.sha256, verified = sha256 ~= nil }
    end,
    sample = function(args)
        local url = named(args.where, args.key)
        return { path = args.to, bytes = rt.unknown("bytes of " .. url), verified = true,
            sha256 = args.sha256 or rt.unknown("SHA-256 of " .. url) }
    end,
    exact = { "key", "to", "path" },
}

--- bucket:head(key) → { key, bytes, sha256, etag, modified }, or nil where no such object is. `sha256` where put() left it.
Bucket.head = rt.effect {
    name = "s3.head",
    class = "read",
    args = function(self, key)
        return { where = self.where, key = key_of(key, "head") }
    end,
    describe = function(args)
        return "look at " .. named(args.where, args.key)
    end,
    call = function(args)
        return head(args.where, args.key, "look at " .. named(args.where, args.key))
    end,
    sample = function(args)
        local url = named(args.where, args.key)
        return { key = args.key, bytes = rt.unknown("bytes of " .. url), sha256 = rt.unknown("SHA-256 of " .. url),
            etag = rt.unknown("ETag of " .. url), modified = rt.unknown("time of " .. url) }
    end,
    exact = { "key" },
}

--- bucket:list{ prefix = "2026/", limit = 100 } → { { key, bytes, modified, etag }, … } by key; keys are without the bucket's
--- own prefix.
Bucket.list = rt.effect {
    name = "s3.list",
    class = "read",
    args = function(self, options)
        local given = rt.options(options or {}, { prefix = { "string", default = "" }, limit = "integer" }, "bucket:list")
        return { where = self.where, prefix = given.prefix, limit = given.limit }
    end,
    describe = function(args)
        return "list " .. named(args.where, args.prefix)
    end,
    call = function(args)
        return list(args.where, args.prefix, args.limit, "list " .. named(args.where, args.prefix))
    end,
    sample = function()
        return rt.json.array {}
    end,
    exact = true,
}

local checked = rt.effect {
    name = "s3.check",
    class = "read",
    args = function(self)
        return { where = self.where }
    end,
    describe = function(args)
        return "check " .. named(args.where, "")
    end,
    call = function(args)
        local name = named(args.where, "")
        list(args.where, "", 1, "check " .. name)
        return { name = name, verdict = "pass", text = name .. " answers, and lets this key look" }
    end,
    sample = function(args)
        return { name = named(args.where, ""), verdict = "unknown" }
    end,
}

--- bucket:check(): an expectation that it is there, and lets this key look into it.
function Bucket.check(self)
    return rt.expectation(checked(self))
end

--- bucket:delete(key): the object is gone, whether or not it was there.
Bucket.delete = rt.effect {
    name = "s3.delete",
    class = "idempotent",
    args = function(self, key)
        return { where = self.where, key = key_of(key, "delete") }
    end,
    describe = function(args)
        return "delete " .. named(args.where, args.key)
    end,
    call = function(args)
        local what = "delete " .. named(args.where, args.key)
        local answer = ask(args.where, "DELETE", args.key)
        if answer.status > 299 and not (answer.status == 404 and element(answer.body, "Code") ~= "NoSuchBucket") then
            refuse(what, answer)
        end
        return true
    end,
    sample = function()
        return true
    end,
    exact = { "key" },
}

-- "s3://bucket/prefix": keys and region as AWS's own tools find them in the environment.
local function from_url(url)
    local bucket, prefix = url:match("^s3://([^/]+)/?(.*)$")
    if not bucket then
        rt.raise("usage", ("s3.bucket: %q is not s3://bucket/prefix"):format(url))
    end
    local found = env.require {
        AWS_ACCESS_KEY_ID = {}, AWS_SECRET_ACCESS_KEY = {}, AWS_SESSION_TOKEN = { optional = true },
        AWS_REGION = { optional = true, public = true }, AWS_DEFAULT_REGION = { optional = true, public = true },
        AWS_ENDPOINT_URL = { optional = true, public = true, format = "url" },
    }
    return { bucket = bucket, prefix = prefix, access_key = found.AWS_ACCESS_KEY_ID, secret_key = found.AWS_SECRET_ACCESS_KEY,
        session_token = found.AWS_SESSION_TOKEN, region = found.AWS_REGION or found.AWS_DEFAULT_REGION,
        endpoint = found.AWS_ENDPOINT_URL }
end

--- A bucket, or the part of one below `prefix`: { bucket, prefix, endpoint, region = "us-east-1", access_key, secret_key,
--- session_token, path_style, ca }, or "s3://bucket/prefix", whose keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (also read:
--- AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL). Nothing is asked yet. `bucket.where` is plain data (and secrets) of which
--- s3.bucket makes the bucket again; tostring gives s3://bucket/prefix/.
function s3.bucket(options)
    if type(options) == "table" and getmetatable(options) == false and rawget(options, "where") then
        return options
    end
    local where = rt.options(type(options) == "string" and from_url(options) or options, OPTIONS, "s3.bucket")
    for _, name in ipairs { "access_key", "secret_key" } do
        if where[name] == nil then
            rt.raise("usage", ("s3.bucket: %s is missing"):format(name))
        end
    end
    if not rt.is_unknown(where.bucket) and not where.bucket:find("^%w[%w%.%-_]*$") then
        rt.raise("usage", ("s3.bucket: %q is no bucket's name%s"):format(where.bucket, where.bucket:find("/", 1, true)
            and "; what comes after it is its prefix" or ""))
    end
    if where.endpoint and not rt.is_unknown(where.endpoint) and not where.endpoint:find("^https?://[^/]") then
        rt.raise("usage", ("s3.bucket: the endpoint %q is not an http:// or https:// URL"):format(where.endpoint))
    end
    where.region = where.region or "us-east-1"
    where.endpoint = where.endpoint and where.endpoint:gsub("/+$", "")
    where.prefix = (where.prefix or ""):gsub("/+$", ""):gsub("^(.+)$", "%1/")
    return setmetatable({ where = where }, handle)
end

return s3
