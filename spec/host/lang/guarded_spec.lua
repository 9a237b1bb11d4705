dofile("spec/host/lang/stub.lua")
local guarded = require "lang.guarded"

describe("destructive", function()
    for text, name in pairs {
        ["pnpm db:reset"] = "db:reset",
        ["npx prisma migrate reset --force"] = "prisma migrate reset",
        ["npx prisma  migrate\tdev"] = "prisma migrate dev",
        ["DROP DATABASE terp"] = "DROP DATABASE",
        ["mysql -e 'drop database terp'"] = "DROP DATABASE",
        ["drop /* really */ database terp"] = "DROP DATABASE",
        ["drop -- now\n database terp"] = "DROP DATABASE",
        ["/*!50000 DROP DATABASE terp */"] = "DROP DATABASE",
        ["drop table if exists orders"] = "DROP TABLE",
        ["DROP SCHEMA terp"] = "DROP SCHEMA",
        ["truncate table orders"] = "TRUNCATE",
        ["TRUNCATE orders"] = "TRUNCATE",
        ["docker compose down -v"] = "docker compose down -v",
        ["docker compose -f a.yml down --volumes"] = "docker compose down -v",
        ["docker-compose down -v"] = "docker compose down -v",
        ["docker compose down --remove-orphans -v"] = "docker compose down -v",
        ["docker volume rm shop_files"] = "docker volume rm",
        ["docker volume prune -f"] = "docker volume rm",
        ["docker system prune -af --volumes"] = "docker system prune --volumes",
        ["docker rm -fv db"] = "docker rm -v",
        ["docker compose rm -s -v db"] = "docker rm -v",
        ["git push --force origin main"] = "git push --force",
        ["git push -f"] = "git push --force",
        ["git -C app push origin +main"] = "git push --force",
        ["git -C app reset -q --hard HEAD~1"] = "git reset --hard",
        ["git clean -xdf"] = "git clean -f",
        ["cd app; git clean --force"] = "git clean -f",
        ["rm -rf /"] = "rm -rf /",
        ["rm -fr /"] = "rm -rf /",
        ["sudo rm -r -f /*"] = "rm -rf /",
        ["cd x && rm --recursive --force /."] = "rm -rf /",
        ["rm -rf \"$HOME\""] = "rm -rf /",
        ["/bin/rm -Rf /etc"] = "rm -rf /",
        ["bash -c 'rm -rf /'"] = "rm -rf /",
        ["rm -rf \\\n /"] = "rm -rf /",
    } do
        it(text:gsub("%c", " "), function() assert.equal(name, guarded.match(text)) end)
    end
    for _, text in ipairs {
        "pnpm db:push", "npx prisma migrate deploy", "select truncate(price, 2) from orders", "docker compose down",
        "docker compose up -d -V", "git push origin main --follow-tags", "git push --tags",
        "git reset --soft HEAD^", "git clean -nd", "rm -rf build/tmp",
        "rm /tmp/lock", "rm -rf /srv/app/releases/3", "select * from dropped",
        "drop temporary table t", "alter table t drop column c", "git fetch --force",
        "delete from sessions where id = 1", "docker run -v /a:/b x",
        "docker run --rm -v /a:/b x", "docker rm -f web", "docker exec web rm -v /tmp/x", "docker volume ls",
            "docker system prune -f",
    } do
        it("not " .. text, function() assert.is_nil(guarded.match(text)) end)
    end
    it("also what the header denies", function()
        assert.equal("db:seed --wipe", guarded.match("pnpm  db:seed   --WIPE", { "db:seed --wipe" }))
    end)
end)
