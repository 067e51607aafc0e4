-- The whole state of one sidecar. Times are unix seconds; records are JSON, with columns for what is searched by.

CREATE TABLE journal (              -- everything that entered, in order: the truth that the rest follows from
    position    INTEGER PRIMARY KEY, -- gapless from 1
    kind        TEXT NOT NULL,       -- webhook, operator, tick, send, erased
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
    phone_number_id TEXT NOT NULL,
    recipient       TEXT NOT NULL,   -- keyed hash
    state           TEXT NOT NULL,
    campaign        TEXT NOT NULL,
    started_at      REAL NOT NULL,
    due_at          REAL,            -- when silence must be judged
    updated_at      REAL NOT NULL,
    bucket          INTEGER NOT NULL, -- every 1,024 rows the next: it keeps new index entries together
    record          TEXT NOT NULL    -- the whole, as JSON
);
CREATE INDEX messages_by_recipient ON messages (bucket, recipient);
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_by_campaign ON messages (campaign) WHERE campaign <> '';
CREATE INDEX messages_accepted ON messages (started_at) WHERE state = 'accepted';

CREATE TABLE numbers (
    phone_number_id TEXT PRIMARY KEY,
    waba_id         TEXT NOT NULL,
    number          TEXT NOT NULL,   -- keyed hash of the display number
    seen_at         REAL NOT NULL,
    reported_since  REAL
) WITHOUT ROWID;

CREATE TABLE states (               -- Meta's last word on numbers, templates and accounts
    key     TEXT PRIMARY KEY,
    said_at REAL NOT NULL,
    record  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE conversations (        -- open customer-service windows
    phone_number_id TEXT NOT NULL,
    recipient       TEXT NOT NULL,
    alias           TEXT NOT NULL,
    closes_at       REAL NOT NULL,
    PRIMARY KEY (phone_number_id, recipient)
) WITHOUT ROWID;
CREATE INDEX conversations_by_end ON conversations (closes_at);

CREATE TABLE people (alias TEXT PRIMARY KEY, person TEXT NOT NULL) WITHOUT ROWID; -- two hashes of one person
CREATE INDEX people_by_person ON people (person);

CREATE TABLE preferences (          -- who stopped marketing messages
    recipient  TEXT PRIMARY KEY,
    is_stopped INTEGER NOT NULL,
    at         REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE campaigns (
    id       INTEGER PRIMARY KEY,
    campaign TEXT NOT NULL UNIQUE,
    first_at REAL NOT NULL,
    last_at  REAL NOT NULL
);

CREATE TABLE campaign_counts (
    campaign TEXT NOT NULL,
    heading  TEXT NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (campaign, heading)
) WITHOUT ROWID;

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
    record          BLOB NOT NULL,
    recipient       TEXT NOT NULL DEFAULT '',
    is_awaited      INTEGER NOT NULL DEFAULT 1 -- pending, or its retry has not come to an end
);
CREATE INDEX resends_by_state ON resends (state, not_before);
CREATE INDEX resends_by_recipient ON resends (recipient);
CREATE INDEX resends_awaited ON resends (id) WHERE is_awaited;

CREATE TABLE incidents (id TEXT PRIMARY KEY, opened_at REAL NOT NULL, over_at REAL, record BLOB NOT NULL);

CREATE TABLE alerts (id TEXT PRIMARY KEY, since REAL NOT NULL, last_at REAL NOT NULL, record BLOB NOT NULL);

CREATE TABLE firings (              -- rules from the first sign that they hold to their end
    id          TEXT PRIMARY KEY,
    since       REAL NOT NULL,
    ended_at    REAL,
    rests_until REAL,               -- until when an ended one keeps its rule from firing again
    record      BLOB NOT NULL
);
CREATE INDEX firings_by_end ON firings (ended_at);
CREATE INDEX firings_live ON firings (rests_until) WHERE rests_until IS NOT NULL;

CREATE TABLE rule_values (          -- the last value of each fact that a `change:` waits for
    condition   TEXT NOT NULL,
    "group"     TEXT NOT NULL,
    value       TEXT NOT NULL,
    at          REAL NOT NULL,
    PRIMARY KEY (condition, "group")
) WITHOUT ROWID;

CREATE TABLE answers (              -- Graph's first answer to each Idempotency-Key
    key    TEXT PRIMARY KEY,        -- keyed hash of number and key
    at     REAL NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (at);

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY,
    at       REAL NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    position INTEGER NOT NULL,
    hash     TEXT NOT NULL DEFAULT '' -- over this note and the hash before; empty for rules' own turns
);
CREATE INDEX audit_chained ON audit (id) WHERE hash <> '';
CREATE INDEX audit_drills ON audit (id) WHERE action = 'drill';

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
