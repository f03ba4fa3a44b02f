-- +goose Up

-- One row: which database this is, and whether documents are changed in it.
CREATE TABLE arrakis.record (
	one   boolean PRIMARY KEY DEFAULT true CHECK (one),
	id    uuid NOT NULL DEFAULT gen_random_uuid(), -- Redis has it too, as the owner of its copies
	state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'active', 'moved', 'moving_in', 'moving_out')),
	since timestamptz NOT NULL DEFAULT clock_timestamp(),
	compared timestamptz NOT NULL DEFAULT clock_timestamp() -- when all documents were last compared with those of Redis
);
INSERT INTO arrakis.record DEFAULT VALUES;

-- Tenants, accounts, flags and tiers. A deleted document stays as a row, so that its version goes on when it is created again.
CREATE TABLE arrakis.documents (
	kind       text NOT NULL,
	id         text COLLATE "C" NOT NULL,
	-- NULL: it is deleted. json and not jsonb: it stays byte for byte what was written
	doc        json CHECK (json_typeof(doc) = 'object'),
	version    bigint NOT NULL CHECK (version > 0),
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (kind, id)
);

-- Documents that Redis does not have yet. The relay deletes a row when Redis has the document.
CREATE TABLE arrakis.outbox (
	seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind   text NOT NULL,
	id     text COLLATE "C" NOT NULL,
	source text NOT NULL, -- the process that made the change
	at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who has changed what.
CREATE TABLE arrakis.audit (
	seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at         timestamptz NOT NULL,
	type       text NOT NULL,
	target     text COLLATE "C" NOT NULL,
	actor      text NOT NULL,
	from_where text NOT NULL,
	request_id text NOT NULL,
	source     text NOT NULL,
	before     json,
	after      json,
	redis_id   text, -- of an entry that waited in Redis until it came here
	UNIQUE (redis_id, type, target)
);
CREATE INDEX audit_at ON arrakis.audit (at, seq);
CREATE INDEX audit_target ON arrakis.audit (target, at, seq);
CREATE INDEX audit_request ON arrakis.audit (request_id) WHERE request_id <> '';

-- +goose Down

-- +goose StatementBegin
DO $$ BEGIN
	LOCK TABLE arrakis.record; -- from now on until the tables are gone, nobody takes them into use
	IF EXISTS (SELECT FROM arrakis.record WHERE state NOT IN ('new', 'moved')) THEN
		RAISE EXCEPTION 'the tenants would be lost: run `arrakis tenant move --from postgres --to redis` first';
	END IF;
END $$;
-- +goose StatementEnd
DROP TABLE arrakis.audit;
DROP TABLE arrakis.outbox;
DROP TABLE arrakis.documents;
DROP TABLE arrakis.record;
