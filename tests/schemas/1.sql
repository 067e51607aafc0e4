-- The whole state of one sidecar. Times are unix seconds; records are JSON, with columns for what is searched by.

CREATE TABLE journal (              -- everything that entered, in order: the truth that the rest follows from
    position    INTEGER PRIMARY KEY, -- gapless from 1
    kind        TEXT NOT NULL,       -- webhook, operator
    received_at REAL NOT NULL,
    digest      BLOB,                -- of a webhook's body; not indexed: the writer remembers the newest (decision 3)
    signature   TEXT NOT NULL,       -- Meta's header as it came
    body        BLOB NOT NULL        -- the bytes as they came
);

CREATE TABLE cursors (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE seen (                 -- events that have no message to remember them
    key         TEXT PRIMARY KEY,
    received_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (             -- rowid order is the order of first sight, which retention follows
    wamid           TEXT NOT NULL UNIQUE,
    waba_id         TEXT NOT NULL,
    phone_number_id TEXT NOT NULL,
    recipient       TEXT NOT NULL,   -- keyed hash
    direction       TEXT NOT NULL,
    category        TEXT NOT NULL,
    callback_data   TEXT NOT NULL,
    state           TEXT NOT NULL,
    steps           TEXT NOT NULL,
    is_priced       INTEGER NOT NULL,
    updated_at      REAL NOT NULL
);

CREATE TABLE numbers (phone_number_id TEXT PRIMARY KEY, waba_id TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE pauses (id TEXT PRIMARY KEY, since REAL NOT NULL, over_at REAL, record BLOB NOT NULL);
CREATE INDEX pauses_by_end ON pauses (over_at);

CREATE TABLE flags (id TEXT PRIMARY KEY, opened_at REAL NOT NULL, resolved_at REAL, record BLOB NOT NULL);
CREATE INDEX flags_by_end ON flags (resolved_at);

CREATE TABLE resends (
    id              TEXT PRIMARY KEY,
    wamid           TEXT NOT NULL UNIQUE,
    phone_number_id TEXT NOT NULL,
    state           TEXT NOT NULL,
    not_before      REAL NOT NULL,
    record          BLOB NOT NULL
);
CREATE INDEX resends_by_state ON resends (state, not_before);

CREATE TABLE alerts (id TEXT PRIMARY KEY, since REAL NOT NULL, last_at REAL NOT NULL, record BLOB NOT NULL);

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY,
    at       REAL NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    position INTEGER NOT NULL
);

CREATE TABLE outbox (               -- what must leave; a row goes when it has been delivered
    id          INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    kind        TEXT NOT NULL,       -- forward, alertmanager, webhook
    reference   TEXT NOT NULL,       -- a journal position or an alert's id
    state       TEXT NOT NULL,       -- pending, dead
    created_at  REAL NOT NULL,
    next_at     REAL NOT NULL,
    lease_until REAL,
    attempts    INTEGER NOT NULL,    -- failures in a row
    sent        INTEGER NOT NULL,    -- successes so far: an alert is sent again while it lasts
    error       TEXT NOT NULL,
    UNIQUE (destination, kind, reference)
);
CREATE INDEX outbox_by_destination ON outbox (destination, state, id);
