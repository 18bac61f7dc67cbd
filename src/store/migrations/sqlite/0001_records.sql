-- Names and messages are BLOBs: they are compared and kept byte for byte, and a name may hold NUL.

-- The number of the newest record ever kept. One row. Records are numbered from it in the
-- transaction that keeps them, so there are no gaps and no number is used twice.
CREATE TABLE counters (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
);
INSERT INTO counters (one, last) VALUES (1, 0);

CREATE TABLE records (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL, -- milliseconds since 1970
    sender BLOB,             -- NULL: the backend
    body   BLOB NOT NULL
);

-- The key is in the order of writing, and of pruning.
CREATE TABLE addressees (
    record INTEGER NOT NULL,
    kind   INTEGER NOT NULL, -- 0: a user, 1: a group
    name   BLOB NOT NULL,
    sender BLOB,             -- as in records
    PRIMARY KEY (record, kind, name)
) WITHOUT ROWID;

-- What was for a user or a group, by number.
CREATE INDEX addressees_by_name ON addressees (kind, name, record);

-- What one user sent to another, by number.
CREATE INDEX addressees_by_pair ON addressees (name, sender, record)
    WHERE kind = 0 AND sender IS NOT NULL;

-- Up to which record a user has been handed what was for them.
CREATE TABLE cursors (
    uid    BLOB PRIMARY KEY,
    record INTEGER NOT NULL
) WITHOUT ROWID;
