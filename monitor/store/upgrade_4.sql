-- From schema 3: the audit is a chain from here on, and drills are found at once.

ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_chained ON audit (id) WHERE hash <> '';
CREATE INDEX audit_drills ON audit (id) WHERE action = 'drill';
