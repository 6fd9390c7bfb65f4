-- golang-migrate makes this table by itself. It stands here so that sqlc can type the queries that read it.
CREATE TABLE schema_migrations (
    version bigint NOT NULL PRIMARY KEY,
    dirty boolean NOT NULL
);
