-- What manifests say, and where packs lie. `{text}` and `{bytes}` stand for the types of the database in use: text is
-- ordered by its bytes everywhere.

-- A pack, whichever stores have it.
CREATE TABLE packs (
    pack_id {bytes} NOT NULL PRIMARY KEY,
    subject {text} NOT NULL,
    tenant {text},
    namespace {text},
    scenario {text},
    run_id {text},
    step_id {text},
    execution_id {text},
    spec_hash {bytes},
    created_at BIGINT NOT NULL,
    producer_name {text} NOT NULL,
    producer_version {text} NOT NULL,
    artifacts BIGINT NOT NULL,
    artifact_bytes BIGINT NOT NULL,
    agent {text},
    agent_version {text},
    policy {text},
    expires_at BIGINT
);
CREATE INDEX packs_agent ON packs (agent, agent_version, created_at);
CREATE INDEX packs_run ON packs (run_id);
CREATE INDEX packs_execution ON packs (execution_id);
CREATE INDEX packs_scenario ON packs (tenant, namespace, scenario, created_at);

-- An artifact of a pack. Its pack's time, tenant, policy and expiry are here again, for the order of what is found.
CREATE TABLE artifacts (
    pack_id {bytes} NOT NULL,
    name {text} NOT NULL,
    title {text},
    kind {text} NOT NULL,
    media_type {text} NOT NULL,
    bytes BIGINT NOT NULL,
    commitment {bytes} NOT NULL,
    claimed_sha256 {bytes},
    step {text},
    created_at BIGINT NOT NULL,
    tenant {text},
    policy {text},
    expires_at BIGINT,
    PRIMARY KEY (pack_id, name)
);
CREATE INDEX artifacts_policy ON artifacts (policy, created_at, pack_id, name) WHERE policy IS NOT NULL;
CREATE INDEX artifacts_expiry ON artifacts (expires_at, pack_id, name) WHERE expires_at IS NOT NULL;
CREATE INDEX artifacts_tenant_expiry ON artifacts (tenant, expires_at, pack_id, name) WHERE expires_at IS NOT NULL;
CREATE INDEX artifacts_policy_expiry ON artifacts (policy, expires_at, pack_id, name) WHERE expires_at IS NOT NULL;
CREATE INDEX artifacts_time ON artifacts (created_at, pack_id, name);
CREATE INDEX artifacts_tenant ON artifacts (tenant, created_at, pack_id, name);
CREATE INDEX artifacts_kind ON artifacts (kind, created_at, pack_id, name);
CREATE INDEX artifacts_media_type ON artifacts (media_type, created_at, pack_id, name);
CREATE INDEX artifacts_commitment ON artifacts (commitment, bytes, pack_id, name);
CREATE INDEX artifacts_step ON artifacts (step, created_at, pack_id, name) WHERE step IS NOT NULL;

-- What an artifact was made from, as its manifest says.
CREATE TABLE inputs (
    pack_id {bytes} NOT NULL,
    name {text} NOT NULL,
    position BIGINT NOT NULL,
    source_pack {bytes} NOT NULL,
    source_name {text} NOT NULL,
    source_commitment {bytes} NOT NULL,
    PRIMARY KEY (pack_id, name, position)
);
CREATE INDEX inputs_source ON inputs (source_pack, source_name);
CREATE INDEX inputs_commitment ON inputs (source_commitment, pack_id, name, position);

CREATE TABLE labels (
    pack_id {bytes} NOT NULL,
    label {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (pack_id, label)
);
CREATE INDEX labels_value ON labels (label, value, pack_id);

-- Where a pack lies: its manifest, or its bundle.
CREATE TABLE places (
    store {text} NOT NULL,
    key {text} NOT NULL,
    pack_id {bytes} NOT NULL,
    form {text} NOT NULL,
    region {text},
    PRIMARY KEY (store, key)
);
CREATE INDEX places_pack ON places (pack_id);

-- The policies of retention that everything here was filled by, in their canonical form: one row, or none where everything
-- is kept forever.
CREATE TABLE retention (
    policies {text} NOT NULL
);
