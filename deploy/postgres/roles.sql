-- Creates the database and its two roles. PostgreSQL's image runs this once, when its volume is still empty.
--
-- vendor_owner owns the tables and migrates them; vendor_app may only do what the migrations grant it.
-- The passwords come from the environment, so that they stand in no file and in no list of processes.

\getenv owner_password DATABASE_OWNER_PASSWORD
\getenv runtime_password DATABASE_PASSWORD

CREATE ROLE vendor_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE vendor_app LOGIN PASSWORD :'runtime_password';
CREATE DATABASE vendor OWNER vendor_owner;
