local t = require "spec.helper"

local function value_of(text, folder, options)
    options = options or {}
    options.cwd = folder
    local value, problem = t.body(text, options)
    assert.is_nil(problem, problem and problem.message)
    return value
end

local function fails(code, text, folder)
    local _, problem = t.body(text, { cwd = folder })
    assert.equal(code, problem and problem.code)
    return problem.message
end

describe("fs", function()
    local folder

    before_each(function()
        folder = t.temp()
    end)

    it("writes and reads, bytes and all", function()
        local value = value_of([[
            local text = "a\0b\255\n"
            local written = fs.write("deep.bin", text, { mode = "0600" })
            return { written.path, written.bytes, written.sha256 == fs.sha256 "deep.bin", fs.read "deep.bin" == text,
                fs.stat("deep.bin").mode }]], folder)
        assert.same({ "deep.bin", 5, true, true, "0600" }, value)
        assert.equal("a\0b\255\n", t.read(folder .. "/deep.bin"))
    end)

    it("writes a secret for its owner only, and shows no digest of it", function()
        local value = value_of([[return fs.write(".env", "TOKEN=" .. secret "TOKEN" .. "\n")]], folder,
            { env = { TOKEN = "swordfish" } })
        assert.same({ path = ".env", bytes = 16 }, value)
        assert.equal("TOKEN=swordfish\n", t.read(folder .. "/.env"))
        assert.equal("600\n", t.run { "stat", "-c", "%a", folder .. "/.env" }.out)
    end)

    it("reads a secret that the journal does not keep", function()
        t.write(folder .. "/token", "swordfish\n")
        local value, _, result = t.body([[
            local token = fs.read("token", { secret = true })
            return { tostring(token), sh.run({ "wc", "-c", stdin = token }).out }]], { cwd = folder })
        assert.same({ "‹secret token›", "9\n" }, value)
        assert.is_nil(t.run { "grep", "-r", "swordfish", result.state }.out:match("%S"))
    end)

    it("looks, lists and finds, in order", function()
        for _, name in ipairs { "b.txt", "a.txt", "c.md", "sub/d.txt" } do
            t.write(folder .. "/" .. name, name)
        end
        assert.same({
            list = { "a.txt", "b.txt", "c.md", "sub" }, found = { "a.txt", "b.txt" }, both = { "a.txt", "b.txt", "c.md" },
            none = {}, missing = false, there = true, kind = "directory", size = 5,
        }, value_of([[return {
            list = fs.list ".", found = fs.glob "*.txt", both = fs.glob "*.{txt,md}", none = fs.glob "*.none",
            nothing = fs.stat "none", missing = fs.exists "none", there = fs.exists "a.txt", kind = fs.stat("sub").type,
            size = fs.stat("a.txt").size }]], folder))
    end)

    it("copies, makes folders, removes", function()
        t.write(folder .. "/a", "content")
        local value = value_of([[
            fs.mkdir "x/y"
            local copy = fs.copy("a", "x/y/b")
            return { copy.path, copy.bytes, fs.remove "a", fs.remove "a", fs.exists "a", fs.read "x/y/b" }]], folder)
        assert.same({ "x/y/b", 7, true, false, false, "content" }, value)
    end)

    it("knows the free space", function()
        local bytes = value_of([[return fs.free "."]], folder)
        local df = tonumber(t.run { "df", "--output=avail", "-B1", folder }.out:match("(%d+)"))
        assert.is_true(math.abs(bytes - df) < 2 ^ 30)
    end)

    it("says what is wrong", function()
        assert.matches("cannot read none: ", fails("io", [[fs.read "none"]], folder), 1, true)
        assert.matches("limit", fails("too_large", [[fs.read("/dev/zero", { limit = "1KiB" })]], folder), 1, true)
        assert.matches("folder", fails("directory", [[fs.remove "."]], folder), 1, true)
        assert.matches("octal", fails("usage", [[fs.write("a", "", { mode = "u+x" })]], folder), 1, true)
        assert.matches("unknown option", fails("usage", [[fs.write("a", "", { mod = "0644" })]], folder), 1, true)
        assert.matches("expected a path", fails("usage", [[fs.read()]], folder), 1, true)
        assert.matches("content is a nil", fails("usage", [[fs.write "a"]], folder), 1, true)
        assert.matches("**", fails("usage", [[fs.glob "**/*.lua"]], folder), 1, true)
        fails("io", [[fs.write("/proc/none", "x")]], folder)
    end)

    it("leaves the old file whole when there is no room", function()
        if t.run({ "sh", "-c", "id -u" }).out ~= "0\n" then
            pending("a full disk needs root to mount one")
            return
        end
        local disk = folder .. "/disk"
        t.write(disk .. "/x", "")
        if t.run({ "mount", "-t", "tmpfs", "-o", "size=64k", "none", disk }).code ~= 0 then
            pending("a full disk needs a machine that may mount one")
            return
        end
        t.finally(function() t.run { "umount", disk } end)
        t.write(disk .. "/a", "old")
        local message = fails("io", [[fs.write("disk/a", ("x"):rep(200000))]], folder)
        assert.matches("No space", message:gsub("no space", "No space"), 1, true)
        assert.equal("old", t.read(disk .. "/a"))
        assert.same({ "a" }, t.list(disk))
    end)
end)
