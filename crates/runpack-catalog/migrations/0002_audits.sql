-- Audits of stores: what there was to verify, who holds it, and what came of it. These are results and no index: nothing
-- makes them again, and no `update` or `rebuild` of the catalog touches them. Times are milliseconds since 1970 by the
-- database's clock.

-- An audit of one store. Whoever lists the store for it holds `fence` until `ready_at`.
CREATE TABLE audits (
    audit {text} NOT NULL PRIMARY KEY,
    store {text} NOT NULL,
    level {text} NOT NULL,
    scope {text} NOT NULL,
    begun_at BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    ready_at BIGINT NOT NULL,
    planned_at BIGINT
);

-- A place of an audit. It may be taken from `ready_at` on while it has no conclusion; `fence` counts how often it was, and
-- a conclusion is written by the one who took it last, once.
CREATE TABLE audit_places (
    audit {text} NOT NULL,
    key {text} NOT NULL,
    pass BIGINT NOT NULL,
    listed BIGINT NOT NULL,
    known_pack {bytes},
    fence BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    ready_at BIGINT NOT NULL,
    worker {text},
    conclusion {text},
    pack_id {bytes},
    artifacts BIGINT NOT NULL,
    bytes_read BIGINT NOT NULL,
    pinned_by {text},
    findings {text},
    PRIMARY KEY (audit, key)
);
CREATE INDEX audit_places_open ON audit_places (audit, ready_at, key) WHERE conclusion IS NULL;
CREATE INDEX audit_places_named ON audit_places (audit, conclusion, key)
    WHERE conclusion IN ('undecided', 'invalid', 'removed');

-- What audits have seen in stores, whatever a catalog forgets.
CREATE TABLE seen (
    store {text} NOT NULL,
    key {text} NOT NULL,
    pack_id {bytes} NOT NULL,
    PRIMARY KEY (store, key)
);
