-- What containers print: bounded, both streams apart, masked as it comes.
local _, rt, engine = ...

local M = {}

local CAPTURE = 1 << 20

-- The first and the last half of `room` bytes of what is added.
local function keeper(room)
    local half = room // 2
    local head, tail, kept, total = {}, {}, 0, 0
    local first, from = 0, 1
    local self = {}
    function self.add(text)
        total = total + #text
        if first < half then
            local part = text:sub(1, half - first)
            head[#head + 1], first = part, first + #part
            text = text:sub(#part + 1)
        end
        if text == "" then
            return
        end
        tail[#tail + 1], kept = text, kept + #text
        while kept - #tail[from] >= half do
            kept, tail[from], from = kept - #tail[from], false, from + 1
        end
        if from > 1000 then
            tail, from = table.move(tail, from, #tail, 1, {}), 1
        end
    end
    function self.text()
        local last = table.concat(tail, "", from)
        local cut = total - first - #last
        if #last > half then
            cut, last = cut + #last - half, last:sub(-half)
        end
        local text = table.concat(head)
        if cut > 0 then
            return ("%s\n… %d bytes left out …\n%s"):format(text, cut, last), total, true
        end
        return text .. last, total, false
    end
    return self
end

--- Reads an answer to its end: { out, err, bytes, truncated }.
function M.collect(answer, capture)
    local out, err = keeper(capture or CAPTURE), keeper(capture or CAPTURE)
    for more, of_err in answer.next do
        out.add(more)
        err.add(of_err)
    end
    local out_text, out_total, out_cut = out.text()
    local err_text, err_total, err_cut = err.text()
    return { out = out_text, err = err_text, bytes = out_total + err_total, truncated = out_cut or err_cut }
end

--- A container's log. opts: { tail, since, until_, timestamps, capture, tty, log }.
function M.logs(of, id, opts)
    local answer <close> = engine.open(of, {
        path = "/containers/" .. engine.escaped(id) .. "/logs", framed = not opts.tty, log = opts.log, stall = 60000,
            missing = "no_container",
        doing = "read the log of " .. id,
        query = { stdout = true, stderr = true, tail = opts.tail or "all", since = opts.since, ["until"] = opts.until_,
            timestamps = opts.timestamps },
    })
    return M.collect(answer, opts.capture)
end

--- What a container said last, for a message: at most `count` lines, or "" where it cannot be told.
function M.last(of, id, tty, count)
    local ok, found = pcall(M.logs, of, id, { tail = count, tty = tty, capture = 16384 })
    if not ok then
        return ""
    end
    return rt.last_lines(found.out .. "\n" .. found.err, count)
end

--- "; its last lines:\n  …"
function M.said(of, id, tty)
    local text = M.last(of, id, tty, 20)
    return text ~= "" and "; its last lines:\n  " .. text or "; it has printed nothing"
end

return M
