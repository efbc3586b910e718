-- Runs a statement over columns and says how it ended, with its SQLSTATE. What failed has left nothing behind, and the
-- transaction goes on. A cancelled statement is no failure of this kind: it ends the transaction.
CREATE OR REPLACE FUNCTION sluice_try(
    statement TEXT,
    a TEXT[], b TEXT[], c TEXT[], d TEXT[], e TEXT[], f TEXT[], g TEXT[], h TEXT[], i TEXT[], j TEXT[],
    OUT stored BIGINT, OUT code TEXT, OUT message TEXT
) LANGUAGE plpgsql SECURITY INVOKER AS $body$
BEGIN
    EXECUTE statement USING a, b, c, d, e, f, g, h, i, j;
    GET DIAGNOSTICS stored = ROW_COUNT;
    code := '00000';
    message := '';
EXCEPTION WHEN OTHERS THEN
    stored := 0;
    code := SQLSTATE;
    message := SQLERRM;
END
$body$;
