-- Version of the policy by which what came last for this trace was sanitized; NULL for what is older than this column.
ALTER TABLE traces ADD COLUMN policy_version TEXT;
