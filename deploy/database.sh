#!/bin/sh
# Makes the role and the database of the studies. The image of PostgreSQL runs it once, when the
# volume is made, as its superuser.
#
# Workers and the dashboard use a role that owns its database and nothing else. The superuser has
# no password from here on, so that it is reached only inside the container:
#
#   docker compose exec db psql --username postgres

set -eu

# From the environment: a password on a command line could be read by others.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password POSTGRES_PASSWORD
CREATE ROLE puffin LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE puffin OWNER puffin;
REVOKE CONNECT ON DATABASE puffin FROM PUBLIC;
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
