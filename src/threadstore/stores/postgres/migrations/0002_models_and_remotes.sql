-- Lists filter by model and git remote as well. NULL: the record has none.
ALTER TABLE threadstore.threads ADD COLUMN model text;
ALTER TABLE threadstore.threads ADD COLUMN git_origin text;

-- Copied from the records of every tenant, so the owner must see them for once. A null character
-- is what the server cannot take out of JSON.
ALTER TABLE threadstore.threads NO FORCE ROW LEVEL SECURITY;
UPDATE threadstore.threads
SET model = replace(record::text, '\u0000', '\ufffd')::json ->> 'model',
    git_origin = replace(record::text, '\u0000', '\ufffd')::json -> 'git' ->> 'origin_url';
ALTER TABLE threadstore.threads FORCE ROW LEVEL SECURITY;
