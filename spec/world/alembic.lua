-- An alembic project in a folder: env.py that takes DATABASE_URL from the environment, and revisions.
local files = require "spec.world.files"

local M = {}

-- Debian's, for which python3-alembic is installed; another python3 may come first in PATH.
M.python = "/usr/bin/python3"

local ENV = [=[
import os, re
from alembic import context
from sqlalchemy import create_engine, pool

url = re.sub(r"^(mysql|postgresql)://", lambda m: {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg2"}[m[1]] + "://",
             os.environ["DATABASE_URL"])
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
]=]

-- Writes alembic.ini and its folder.
function M.project(folder)
    files.write(folder .. "/alembic.ini", "[alembic]\nscript_location = revisions\n")
    files.write(folder .. "/revisions/env.py", ENV)
    files.write(folder .. "/revisions/versions/.keep", "")
    return folder
end

-- A revision: its `up` and `down` are Python's lines.
function M.revision(folder, id, down, up, undo)
    files.write(folder .. "/revisions/versions/" .. id .. ".py", ([[
import os, time
from alembic import op
revision = %q
down_revision = %s
def upgrade():
    %s
def downgrade():
    %s
]]):format(id, down and ("%q"):format(down) or "None", up, undo or "pass"))
end

return M
