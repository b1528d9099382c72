-- Whether a staged report is newer than the known state of its plugin: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_plugin AS staged
    LEFT JOIN plugin_registry AS known USING (name)
    WHERE known.reported_at IS NULL OR known.reported_at < staged.reported_at
) AS skipped
