-- URLs of variables: the schemes that a format allows, and where the password stands.
local urls = {}

urls.schemes = {
    postgresql = { "postgresql", "postgres" },
    mysql = { "mysql", "mariadb" },
    https = { "https" },
    http = { "http" },
    redis = { "redis", "rediss" },
    url = { "http", "https" },
}

function urls.decode(text)
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- → { before, password, after }: the text is before .. password .. after, password nil where there is none.
-- nil and what is wrong; the text itself is never quoted, it may hold a password.
function urls.parse(text, format)
    local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
    local known = false
    -- SQLAlchemy names its driver, too: postgresql+psycopg2://
    local kind = format == "postgresql" and scheme and scheme:match("^[^+]*") or scheme
    for _, one in ipairs(urls.schemes[format]) do known = known or kind == one end
    if not known then
        return nil, ("is no URL that begins with %s://"):format(table.concat(urls.schemes[format], ":// or "))
    elseif text:find("[%s%c]") then
        return nil, "is a URL with white space in it"
    end
    local authority = rest:match("^[^/?#]*")
    -- A password may hold an unencoded @: the last one ends it.
    local userinfo, host = authority:match("^(.*)@([^@]*)$")
    host = host or authority
    local port = host:match("%]?:([^:%]]*)$")
    -- PostgreSQL's socket stands behind the question mark.
    local elsewhere = format == "postgresql" and rest:find("[?&]host=[^&]")
    if host:gsub(":%d*$", "") == "" and not elsewhere then
        return nil, "is a URL without a host"
    elseif port and (not port:match("^%d+$") or tonumber(port) > 65535) then
        return nil, "is a URL whose port is no number up to 65535"
    end
    local user, password = (userinfo or ""):match("^([^:]*):(.+)$")
    if not password then return { before = text, after = "" } end
    local before = ("%s://%s:"):format(scheme, user)
    return { before = before, password = password, after = text:sub(#before + #password + 1) }
end

return urls
