-- Remember under which basis a day was judged; its figures are what they were.
-- $1 day  $2 basis
UPDATE computed_days SET basis_id = $2, left_under = NULL WHERE day = $1::text::date
