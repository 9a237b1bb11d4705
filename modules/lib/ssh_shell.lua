-- ssh: what is said to the shell on the other machine. Scripts come by standard input, where nobody else reads them.
local shell = {}

--- For this side: makes the folder of ssh's files. Its own is the account's, whatever HOME says, and it makes that one only to
--- note a host's key.
shell.FOLDER = [[home=$(getent passwd "$(id -u)" | cut -d: -f6) && { [ -d "$home/.ssh" ] || mkdir -m 700 "$home/.ssh"; }]]

local function quoted(text)
    return "'" .. tostring(text):gsub("'", [['\'']]) .. "'"
end

local function line_of(command)
    if command.shell then
        return command.shell
    end
    local words = {}
    for i, word in ipairs(command.argv) do
        words[i] = tostring(word):find("^[%w_%-%./:=@%%+,]+$") and word or quoted(word)
    end
    return table.concat(words, " ")
end

-- A text of any content, secrets too, as the shell's here-document: the script comes by standard input, where nobody else reads.
-- It ends with a newline, whether the text does or not.
local function document(text, mark)
    local ended = text == "" or type(text) == "string" and text:find "\n$"
    return "<<'" .. mark .. "'\n" .. text .. (ended and "" or "\n") .. mark .. "\n"
end

-- The script that prepares variables and folder and puts the command's words into "$@".
local function prepared(command, mark)
    local script = "umask 022\n"
    for name, value in pairs(command.env or {}) do
        script = script .. name .. "=$(cat " .. document(value, mark) .. ")\nexport " .. name .. "\n"
    end
    local words = command.shell and { "bash", "--norc", "-euo", "pipefail", "-c", command.shell } or command.argv
    local list = {}
    for i, word in ipairs(words) do
        list[i] = quoted(word)
    end
    script = script .. "set -- " .. table.concat(list, " ") .. "\n"
    if command.cwd then
        script = script .. "cd " .. quoted(command.cwd) .. " || { say ended 126; exit 0; }\n"
    end
    return script
end

-- `say WORD CODE` ends what is printed: without it, the connection broke before.
local function spoken(mark)
    return "say() { printf '\\n" .. mark .. " %s %s\\n' \"$1\" \"$2\"; }\n"
end

local function reading(command, mark)
    local script = spoken(mark) .. prepared(command, mark)
    if command.stdin then
        return script .. '"$@" ' .. document(command.stdin, mark) .. "say ended $?\n"
    end
    return script .. '"$@" </dev/null\nsay ended $?\n'
end

-- What a record is told by: pid and start of the process, then its exit code.
local RECORD = [[
d=${HOME:?}/.cache/rollouthost; f=$d/@ID
born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null || ps -o lstart= -p "$1" 2>/dev/null; }
lives() { read -r pid start <"$f.pid" && [ "$(born "$pid")" = "$start" ]; } 2>/dev/null
told() { cat "$f.out" 2>/dev/null; cat "$f.err" >&2 2>/dev/null; say ended "$(cat "$f.exit")"; exit 0; }
]]

-- Looks only: done, running still, broken off, or never begun.
local LOOK = [[
[ -e "$f.exit" ] && told
[ -e "$f.pid" ] || sleep 1
[ -e "$f.pid" ] || { say never 0; exit 0; }
while lives; do sleep 1; done
[ -e "$f.exit" ] && told
say broken 0
]]

-- Begins it, unless an earlier connection has: as a group of its own, bounded in time, with its output in files, so that a
-- broken connection does not end it.
local BEGIN = [[
umask 077; mkdir -p "$d" || { say ended 125; exit 0; }
find "$d" -type f -mtime +14 -exec rm -f {} + 2>/dev/null
[ -e "$f.exit" ] && told
while lives; do sleep 1; done
[ -e "$f.exit" ] && told
rm -f "$f.pid"
]]
local CHILD = [[f=$1; shift; s=$(cut -d" " -f22 "/proc/$$/stat" 2>/dev/null || ps -o lstart= -p $$)]]
    .. [[; printf "%s %s %s\n" $$ "$s" >"$f.new" && { sync "$f.new" 2>/dev/null || :; } && mv "$f.new" "$f.pid" || exit 125]]
    .. [[; umask 022; "$@"; c=$?; echo $c >"$f.new"; { sync "$f.new" 2>/dev/null || :; }; mv "$f.new" "$f.exit"]]

local function record(mark, id)
    return spoken(mark) .. (RECORD:gsub("@ID", id))
end

local function changing(command, mark, id)
    local input = command.stdin and document(command.stdin, mark) or "</dev/null\n"
    return record(mark, id) .. BEGIN .. prepared(command, mark)
        .. ("timeout -k 5 %d sh -c '%s' sh \"$f\" \"$@\" "):format(math.ceil(command.timeout / 1000), CHILD)
        .. '>"$f.out" 2>"$f.err" '
        .. input .. '[ -e "$f.exit" ] || { echo timeout >"$f.exit"; }\ntold\n'
end

-- Ends a change over there, and all that it has started.
local STOP = [[
lives || { say gone 0; exit 0; }
group=$(ps -o pgid= -p "$pid" | tr -d ' ') && kill -TERM -"$group" 2>/dev/null
n=0; while lives && [ $n -lt 5 ]; do sleep 1; n=$((n + 1)); done
lives && kill -KILL -"$group" 2>/dev/null
say gone 0
]]

--- The script that runs a command and keeps nothing.
shell.reading = reading
--- The script that begins a change, unless that record says that it has been begun.
shell.changing = changing

--- The script that looks what became of a change.
function shell.looking(mark, id)
    return record(mark, id) .. LOOK
end

--- The script that ends a change.
function shell.stopping(mark, id)
    return record(mark, id) .. STOP
end

--- What a person types to see whether ssh gets there.
function shell.by_hand(where)
    local words = { "ssh", "-o", "BatchMode=yes" }
    for _, option in ipairs { { "-F", "config" }, { "-i", "key" }, { "-J", "jump" }, { "-p", "port" } } do
        if where[option[2]] then
            table.move({ option[1], tostring(where[option[2]]) }, 1, 2, #words + 1, words)
        end
    end
    table.move({ (where.user and where.user .. "@" or "") .. where.host, "true" }, 1, 2, #words + 1, words)
    return line_of { argv = words }
end

shell.spoken, shell.quoted, shell.line_of = spoken, quoted, line_of

return shell
