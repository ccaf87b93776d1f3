-- What waits for a person: lockstep.v1.Pending; empty where nothing does.
ALTER TABLE assignment_state ADD COLUMN pending BLOB NOT NULL DEFAULT x'';

-- What people said of an assignment beside its spec. `version` grows with
-- every change, so that what was decided before one is not carried out after
-- it. The digests stand in `body` as well; here they keep Bundles.
CREATE TABLE control (
  assignment      TEXT    NOT NULL PRIMARY KEY,
  version         INTEGER NOT NULL,
  released_digest BLOB,
  pinned_digest   BLOB,
  body            BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX control_released ON control (released_digest) WHERE released_digest IS NOT NULL;
CREATE INDEX control_pinned ON control (pinned_digest) WHERE pinned_digest IS NOT NULL;

-- What each cluster was told to run, and how that went. `seq` counts the
-- entries of an assignment on a cluster; the last one is what it runs now.
-- `options`: digest of the ApplyOptions that it was told with.
CREATE TABLE history (
  assignment  TEXT    NOT NULL,
  cluster     TEXT    NOT NULL,
  seq         INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  cause       INTEGER NOT NULL,
  asked_by    TEXT    NOT NULL,
  revision    TEXT    NOT NULL,
  commit_info BLOB    NOT NULL,
  digest      BLOB    NOT NULL,
  options     INTEGER NOT NULL,
  sync        INTEGER NOT NULL DEFAULT 0,
  health      INTEGER NOT NULL DEFAULT 0,
  message     TEXT    NOT NULL DEFAULT '',
  synced_at   INTEGER,
  ended_at    INTEGER,
  PRIMARY KEY (assignment, cluster, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_time ON history (assignment, at);

-- The last Bundles that an assignment had, so that it can go back to them.
CREATE TABLE history_bundles (
  assignment TEXT    NOT NULL,
  digest     BLOB    NOT NULL,
  used       INTEGER NOT NULL,
  PRIMARY KEY (assignment, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_bundles_digest ON history_bundles (digest);

-- lockstep.v1.ObjectEvent of agents; `id` is the agent's.
CREATE TABLE object_events (
  cluster    TEXT    NOT NULL,
  id         INTEGER NOT NULL,
  assignment TEXT    NOT NULL,
  at         INTEGER NOT NULL,
  body       BLOB    NOT NULL,
  PRIMARY KEY (cluster, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_events_place ON object_events (assignment, cluster, id);
CREATE INDEX object_events_time ON object_events (assignment, at);
