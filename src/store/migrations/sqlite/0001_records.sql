-- Names and messages are BLOBs: they are compared and kept byte for byte, and a name may hold NUL.

-- The number of the newest record ever kept, and of the newest that inbox and pairs know of. One
-- row. Records are numbered from it in the transaction that keeps them, so there are no gaps and no
-- number is used twice.
CREATE TABLE counters (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    last    INTEGER NOT NULL,
    indexed INTEGER NOT NULL
);
INSERT INTO counters (one, last, indexed) VALUES (1, 0, 0);

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

-- inbox and pairs find records by name. A name's entries lie together, so that each new record
-- would touch a page of its own in both; they are therefore filled in many records at a time. What
-- is newer than counters.indexed is found in addressees.

-- What was for a user or a group.
CREATE TABLE inbox (
    kind   INTEGER NOT NULL,
    name   BLOB NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (kind, name, record)
) WITHOUT ROWID;

-- What one user sent to another.
CREATE TABLE pairs (
    name   BLOB NOT NULL,
    sender BLOB NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (name, sender, record)
) WITHOUT ROWID;

-- Up to which record a user has been handed what was for them.
CREATE TABLE cursors (
    uid    BLOB PRIMARY KEY,
    record INTEGER NOT NULL
) WITHOUT ROWID;
