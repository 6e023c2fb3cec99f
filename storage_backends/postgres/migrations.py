"""The schema and how it came about: numbered steps, each applied once and in one transaction.

One table holds every kind of record, because their common order is the log and because one COPY, one index range and
one DELETE then serve all of them; views show each kind under its own name.  `version` is the newest event when the
record was appended and `ordinal` its place behind that event (the event itself has 0), so the primary key is at once
the order, the reader's cursor and the proof that no event is there twice.

There is no foreign key (its trigger would cost as much as the row) and there are no partitions: creating and dropping
them needs locks on the parent that wait behind any report an operator runs, and everything behind that wait stands
still; trimming deletes key ranges in bounded steps instead, and autovacuum makes the room free again.
"""

from __future__ import annotations

from typing import NamedTuple

from storage_backends.errors import LogConfigurationError
from storage_backends.postgres.address import Address, quoted
from storage_backends.postgres.driver import Connection


class Migration(NamedTuple):
    """A step from the schema's version before it to `version`.  {schema} stands for the quoted name."""

    version: int
    description: str
    sql: str


_TABLES = """
CREATE TABLE {schema}.logs (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    epoch         bigint NOT NULL DEFAULT 0,
    batch         bigint NOT NULL DEFAULT 0,
    first_version bigint NOT NULL DEFAULT 1,
    last_version  bigint NOT NULL DEFAULT 0,
    last_ordinal  integer NOT NULL DEFAULT 0,
    size_bytes    bigint NOT NULL DEFAULT 0,
    writer        text,
    writer_since  timestamptz
) WITH (fillfactor = 10);
COMMENT ON TABLE {schema}.logs IS 'One row a log; epoch counts its writers, batch their transactions.';

CREATE TABLE {schema}.records (
    log_id        integer NOT NULL,
    version       bigint NOT NULL,
    ordinal       integer NOT NULL,
    kind          smallint NOT NULL,
    about         bigint,
    time_ns       bigint,
    status        integer,
    length_bytes  bigint,
    digest        bigint,
    method        text,
    target        text,
    detail        json,
    head          bytea,
    body          bytea,
    PRIMARY KEY (log_id, version, ordinal)
);
COMMENT ON TABLE {schema}.records IS
    'The log in its order (version, ordinal). kind: 0 event, 1 outcome, 2 quarantine, 3 mark. Use the views.';
CREATE INDEX records_about ON {schema}.records (log_id, about) WHERE kind IN (1, 2);

CREATE TABLE {schema}.facts (
    log_id        integer PRIMARY KEY,
    facts         json NOT NULL,
    stored_at     timestamptz NOT NULL
);
"""

_VIEWS = """
CREATE FUNCTION {schema}.text_of(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN others THEN
    RETURN encode(bytes, 'escape');
END $$;
COMMENT ON FUNCTION {schema}.text_of IS 'Bytes as text where they are UTF-8, else with escapes.';

CREATE FUNCTION {schema}.headers_of(head bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(name, value), '{{}}') FROM (
        SELECT lower(split_part(line, ':', 1)) AS name,
               string_agg(btrim(substr(line, strpos(line, ':') + 1)), ', ' ORDER BY n) AS value
        FROM unnest(string_to_array({schema}.text_of(head), E'\\r\\n')) WITH ORDINALITY AS lines (line, n)
        WHERE n > 1 AND strpos(line, ':') > 1
        GROUP BY 1) AS fields
$$;
COMMENT ON FUNCTION {schema}.headers_of IS 'The fields of a request head; repeated ones are joined by commas.';

CREATE FUNCTION {schema}.field_of(detail json, name text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN detail ->> name;
EXCEPTION WHEN others THEN
    RETURN detail::text;
END $$;
COMMENT ON FUNCTION {schema}.field_of IS 'A field as text; the whole JSON where it holds what text can not, a NUL.';

CREATE VIEW {schema}.events AS
    SELECT log_id, version, timestamptz 'epoch' + time_ns / 1000 * interval '1 microsecond' AS recorded_at, time_ns,
           method, target, {schema}.headers_of(head) AS headers, head, body
    FROM {schema}.records WHERE kind = 0;

CREATE VIEW {schema}.outcomes AS
    SELECT log_id, about AS version, status,
           CASE WHEN length_bytes < 0 THEN length_bytes + 18446744073709551616 ELSE length_bytes::numeric END
               AS length_bytes,
           lpad(to_hex(digest), 16, '0') AS digest
    FROM {schema}.records WHERE kind = 1;

CREATE VIEW {schema}.quarantines AS
    SELECT log_id, about AS version, timestamptz 'epoch' + time_ns / 1000 * interval '1 microsecond' AS quarantined_at,
           {schema}.field_of(detail, 'reason') AS reason
    FROM {schema}.records WHERE kind = 2;

CREATE VIEW {schema}.marks AS
    SELECT log_id, about AS version, timestamptz 'epoch' + time_ns / 1000 * interval '1 microsecond' AS marked_at,
           {schema}.field_of(detail, 'kind') AS kind, {schema}.field_of(detail, 'detail') AS detail
    FROM {schema}.records WHERE kind = 3;

CREATE VIEW {schema}.requests AS
    SELECT l.name AS log, e.version, e.recorded_at, e.method, e.target, e.headers, {schema}.text_of(e.body) AS body,
           o.status, o.length_bytes, o.digest, q.reason AS quarantined, e.head AS head_bytes, e.body AS body_bytes
    FROM {schema}.events e
    JOIN {schema}.logs l ON l.id = e.log_id
    LEFT JOIN LATERAL (
        SELECT r.status,
               CASE WHEN r.length_bytes < 0 THEN r.length_bytes + 18446744073709551616 ELSE r.length_bytes::numeric END
                   AS length_bytes,
               lpad(to_hex(r.digest), 16, '0') AS digest
        FROM {schema}.records r WHERE r.log_id = e.log_id AND r.about = e.version AND r.kind = 1
        ORDER BY r.version, r.ordinal LIMIT 1) o ON true
    LEFT JOIN LATERAL (
        SELECT {schema}.field_of(r.detail, 'reason') AS reason
        FROM {schema}.records r WHERE r.log_id = e.log_id AND r.about = e.version AND r.kind = 2
        ORDER BY r.version, r.ordinal LIMIT 1) q ON true;
COMMENT ON VIEW {schema}.requests IS 'Who changed what: every recorded request with its first outcome.';
"""

MIGRATIONS = (
    Migration(1, "logs, records, facts", _TABLES),
    Migration(2, "views for people", _VIEWS),
)


async def migrate(connection: Connection, address: Address, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring the schema to the newest version; a current one is only looked at.

    Raises LogConfigurationError for a schema that a newer program made.
    """
    if await schema_version(connection, address) == migrations[-1].version:
        return
    await connection.execute("BEGIN")
    # Others who start at the same moment wait here, and then find the work done.
    await connection.execute(f"SELECT pg_advisory_xact_lock({address.migration_key})")
    found = await schema_version(connection, address)
    if found > migrations[-1].version:
        raise LogConfigurationError(
            f"{address.place}: the schema has version {found} and this program knows {migrations[-1].version} at most;"
            " use the newer program, or another schema"
        )
    schema = quoted(address.schema)
    if not found:
        if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", address.schema):
            await connection.execute(f"CREATE SCHEMA {schema}")
        await connection.execute(
            f"CREATE TABLE {schema}.schema_migrations (version integer PRIMARY KEY, description text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for step in migrations:
        if step.version > found:
            await connection.execute(step.sql.format(schema=schema))
            await connection.execute(
                f"INSERT INTO {schema}.schema_migrations (version, description) VALUES ($1, $2)",
                step.version,
                step.description,
            )
    await connection.execute("COMMIT")


async def schema_version(connection: Connection, address: Address) -> int:
    """Return the number of the last migration; 0 where there is no schema or an empty one."""
    exists = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'schema_migrations'"
    if not await connection.fetchval(exists, address.schema):
        return 0
    table = address.table("schema_migrations")
    return int(await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {table}"))
