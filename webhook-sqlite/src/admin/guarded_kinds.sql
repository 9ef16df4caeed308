-- Returns the kinds that have events with guards, in ascending order. Reads all guards.
SELECT name FROM kinds
WHERE kind IN (SELECT DISTINCT kind FROM guards)
ORDER BY name
