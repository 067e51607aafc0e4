-- From schema 1: messages know their template, campaign and deadline; numbers, states, people and campaigns are new.

ALTER TABLE messages RENAME TO messages_1;
CREATE TABLE messages (
    wamid           TEXT NOT NULL UNIQUE,
    phone_number_id TEXT NOT NULL,
    recipient       TEXT NOT NULL,
    state           TEXT NOT NULL,
    campaign        TEXT NOT NULL,
    started_at      REAL NOT NULL,
    due_at          REAL,
    updated_at      REAL NOT NULL,
    bucket          INTEGER NOT NULL,
    record          TEXT NOT NULL
);
CREATE INDEX messages_by_recipient ON messages (bucket, recipient);
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_by_campaign ON messages (campaign) WHERE campaign <> '';
CREATE INDEX messages_accepted ON messages (started_at) WHERE state = 'accepted';
INSERT INTO messages (rowid, wamid, phone_number_id, recipient, state, campaign, started_at, updated_at, bucket, record)
    SELECT rowid, wamid, phone_number_id, recipient, state, '', json_extract(steps, '$[0][2]'), updated_at, rowid >> 10,
    json_array(wamid, waba_id, phone_number_id, recipient, direction, category, callback_data, state, json(steps),
    iif(is_priced, 'unknown', ''), '', '', 0, json_extract(steps, '$[0][2]'), NULL, NULL) FROM messages_1;
DROP TABLE messages_1;

ALTER TABLE numbers ADD COLUMN number TEXT NOT NULL DEFAULT '';
ALTER TABLE numbers ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
ALTER TABLE numbers ADD COLUMN reported_since REAL;

CREATE TABLE states (key TEXT PRIMARY KEY, said_at REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE conversations (
    phone_number_id TEXT NOT NULL, recipient TEXT NOT NULL, alias TEXT NOT NULL, closes_at REAL NOT NULL,
    PRIMARY KEY (phone_number_id, recipient)
) WITHOUT ROWID;
CREATE INDEX conversations_by_end ON conversations (closes_at);
CREATE TABLE people (alias TEXT PRIMARY KEY, person TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX people_by_person ON people (person);
CREATE TABLE preferences (recipient TEXT PRIMARY KEY, is_stopped INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY, campaign TEXT NOT NULL UNIQUE, first_at REAL NOT NULL, last_at REAL NOT NULL
);
CREATE TABLE campaign_counts (
    campaign TEXT NOT NULL, heading TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (campaign, heading)
) WITHOUT ROWID;
CREATE TABLE incidents (id TEXT PRIMARY KEY, opened_at REAL NOT NULL, over_at REAL, record BLOB NOT NULL);

ALTER TABLE resends ADD COLUMN recipient TEXT NOT NULL DEFAULT '';
ALTER TABLE resends ADD COLUMN is_awaited INTEGER NOT NULL DEFAULT 1;
UPDATE resends SET recipient = json_extract(record, '$.recipient'), is_awaited = state IN ('pending', 'claimed');
CREATE INDEX resends_by_recipient ON resends (recipient);
CREATE INDEX resends_awaited ON resends (id) WHERE is_awaited;
