-- Version 1. A migration is never edited once it has been released; a change is a new file.

CREATE TABLE run (
  id         TEXT PRIMARY KEY,
  started_at REAL NOT NULL,    -- seconds since 1970-01-01T00:00:00Z, as everywhere in this file
  ended_at   REAL,
  pid        INTEGER NOT NULL, -- pid and host are for the person; the kernel lock is the authority
  host       TEXT NOT NULL,
  version    TEXT NOT NULL,
  exit_code  INTEGER
) STRICT;

-- What the file as a whole belongs to, such as the provider whose projects it records.
CREATE TABLE fact (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- Append-only: what happened, in order. A job is this, folded.
CREATE TABLE event (
  seq     INTEGER PRIMARY KEY,
  job     TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  type    TEXT NOT NULL,
  version INTEGER NOT NULL, -- of the body's shape
  at      REAL NOT NULL,
  run     TEXT NOT NULL,
  body    TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_job ON event (job, attempt, seq);

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN
  SELECT RAISE(ABORT, 'the event log is append-only');
END;

CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event
BEGIN
  SELECT RAISE(ABORT, 'the event log is append-only');
END;

-- The snapshot: one row an attempt, written in the same transaction as the events behind it.
-- The columns beside the body are what is searched for and added up.
CREATE TABLE job (
  id         TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  is_current INTEGER NOT NULL,
  state      TEXT NOT NULL,
  project_id TEXT,
  held       INTEGER,
  charged    INTEGER,
  updated_at REAL NOT NULL,
  last_event INTEGER NOT NULL, -- the seq of the event that it comes from
  checksum   INTEGER NOT NULL, -- a row that was changed by accident is not believed
  body       TEXT NOT NULL,
  PRIMARY KEY (id, attempt)
) STRICT;

CREATE UNIQUE INDEX job_current ON job (id) WHERE is_current = 1;
CREATE INDEX job_by_project ON job (project_id) WHERE project_id IS NOT NULL;

-- Quiet moments: the account's balance, and what our ledger of charges added up to at the same time.
CREATE TABLE baseline (
  seq     INTEGER PRIMARY KEY,
  at      REAL NOT NULL,
  credits INTEGER NOT NULL,
  ledger  INTEGER NOT NULL,
  moves   INTEGER NOT NULL  -- 1 when the balance of this account is known to follow charges
) STRICT;

-- What a local file contained when it was last read; size and time of change say whether to read it again.
CREATE TABLE file (
  path        TEXT PRIMARY KEY,
  size        INTEGER NOT NULL,
  modified_ns INTEGER NOT NULL,
  sha256      TEXT NOT NULL,
  facts       TEXT NOT NULL -- what was found in it, as JSON
) STRICT;

-- What is worth knowing the next time (the pace that the provider took) or outside (breakers that are open).
CREATE TABLE learned (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL -- JSON
) STRICT;

-- What the provider was sent of our inputs, by content: one upload serves every job that needs it while it is kept.
CREATE TABLE upload (
  sha256    TEXT NOT NULL,
  media     TEXT NOT NULL,
  extension TEXT NOT NULL,
  file_path TEXT NOT NULL, -- the provider's name for it
  sent_at   REAL NOT NULL,
  PRIMARY KEY (sha256, media, extension)
) STRICT;
