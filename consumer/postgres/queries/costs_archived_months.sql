-- The months of which rows were archived.
SELECT month::timestamp AS begin, (month + interval '1 month')::timestamp AS "end" FROM partition_archives
