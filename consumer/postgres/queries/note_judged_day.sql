-- Record the basis under which a day was judged. Its figures do not change.
-- $1 day  $2 basis
UPDATE computed_days SET basis_id = $2, left_under = NULL WHERE day = $1::text::date
