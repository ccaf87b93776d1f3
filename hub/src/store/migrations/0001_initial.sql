-- Times are milliseconds since the Unix epoch. Digests are 32 bytes.
-- Messages are protobuf, as in proto/lockstep/v1.

-- What people wrote. `body` is the message without apiVersion, kind and status.
CREATE TABLE resources (
  kind       INTEGER NOT NULL,
  name       TEXT    NOT NULL,
  uid        TEXT    NOT NULL,
  generation INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  body       BLOB    NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What the hub knows of each Cluster resource. `online`: a session was open
-- when the hub last wrote; `identity`: the one that a certificate must carry;
-- `forgotten_version`: the version at which a desired row was last dropped, so
-- that no delta since an older one is right.
CREATE TABLE cluster_state (
  cluster            TEXT    NOT NULL PRIMARY KEY,
  desired_version    INTEGER NOT NULL DEFAULT 0,
  forgotten_version  INTEGER NOT NULL DEFAULT 0,
  agent_version      TEXT    NOT NULL DEFAULT '',
  kubernetes_version TEXT    NOT NULL DEFAULT '',
  last_seen          INTEGER,
  online             INTEGER NOT NULL DEFAULT 0,
  identity           TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

-- What each cluster should run. A tombstone tells it to remove an assignment.
CREATE TABLE desired (
  cluster    TEXT    NOT NULL REFERENCES cluster_state (cluster) ON DELETE CASCADE,
  assignment TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  digest     BLOB    NOT NULL,
  revision   TEXT    NOT NULL,
  options    BLOB    NOT NULL,
  tombstone  INTEGER NOT NULL,
  PRIMARY KEY (cluster, assignment)
) STRICT, WITHOUT ROWID;
CREATE INDEX desired_assignment ON desired (assignment);
CREATE INDEX desired_digest ON desired (digest);

-- The latest report of each cluster on each assignment it is told of.
CREATE TABLE reports (
  cluster    TEXT NOT NULL,
  assignment TEXT NOT NULL,
  body       BLOB NOT NULL,
  PRIMARY KEY (cluster, assignment),
  FOREIGN KEY (cluster, assignment) REFERENCES desired (cluster, assignment) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE repository_state (
  repository TEXT NOT NULL PRIMARY KEY,
  body       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What an assignment's ref last resolved and rendered to, and what is wrong since.
CREATE TABLE assignment_state (
  assignment  TEXT    NOT NULL PRIMARY KEY,
  revision    TEXT    NOT NULL,
  tree        TEXT    NOT NULL,
  options_key TEXT    NOT NULL,
  digest      BLOB,
  objects     INTEGER NOT NULL,
  commit_info BLOB    NOT NULL,
  message     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Which bundle a tree rendered to, so that it need not be rendered again.
CREATE TABLE renders (
  key     TEXT    NOT NULL PRIMARY KEY,
  digest  BLOB    NOT NULL,
  used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX renders_digest ON renders (digest);

-- `object_index`: zstd of length-delimited BundleEntry messages without json.
CREATE TABLE bundles (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  digest       BLOB    NOT NULL UNIQUE,
  objects      INTEGER NOT NULL,
  bytes        INTEGER NOT NULL,
  object_index BLOB    NOT NULL,
  created_at   INTEGER NOT NULL
) STRICT;

-- Canonical JSON, zstd.
CREATE TABLE objects (
  sha256 BLOB NOT NULL PRIMARY KEY,
  body   BLOB NOT NULL
) STRICT;

-- `used_by`: digest of the public key that it was traded for, `used_identity`
-- the identity that key got: an answer that was lost can be given again.
CREATE TABLE join_tokens (
  id         TEXT    NOT NULL PRIMARY KEY,
  hash       BLOB    NOT NULL UNIQUE,
  cluster    TEXT    NOT NULL,
  labels     BLOB    NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at    INTEGER,
  used_by    BLOB,
  used_identity TEXT NOT NULL DEFAULT '',
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE access_tokens (
  id         TEXT    NOT NULL PRIMARY KEY,
  hash       BLOB    NOT NULL UNIQUE,
  subject    TEXT    NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
  name       TEXT    NOT NULL PRIMARY KEY,
  uid        TEXT    NOT NULL,
  type       INTEGER NOT NULL,
  username   TEXT    NOT NULL,
  sealed     BLOB    NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
  key   TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
