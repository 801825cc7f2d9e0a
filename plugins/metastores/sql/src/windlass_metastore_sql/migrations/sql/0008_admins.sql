-- Owners could say who has which role, now admins do. People who could keep it; programs, such as agents, do not.
UPDATE members SET role = 'admin' WHERE role = 'owner' AND "user" IN (SELECT name FROM users WHERE service = 0);
