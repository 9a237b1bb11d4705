INSERT INTO users (email, password_hash, role, is_test) VALUES
    ('smoke-admin@terp.test', SHA2('{smoke_password}', 256), 'admin', TRUE),
    ('smoke-clerk@terp.test', SHA2('{smoke_password}', 256), 'clerk', TRUE),
    ('maria@terp.test', SHA2('{customer_password}', 256), 'manager', FALSE);
INSERT INTO users (email, password_hash, role)
    SELECT CONCAT('clerk', seq, '@terp.test'), SHA2(CONCAT('clerk', seq, RAND(seq)), 256), 'clerk' FROM seq_1_to_20;
INSERT INTO clients (name, city, is_test) VALUES ('Rollout smoke test', 'Nowhere', TRUE);
INSERT INTO clients (name, city)
    SELECT CONCAT(ELT(1 + MOD(seq, 5), 'Müller', 'O''Neill', 'Čapek', 'Åkesson', '株式会社'), ' & Sons ', seq),
           ELT(1 + MOD(seq, 3), 'Zürich', 'New York', 'Łódź') FROM seq_1_to_{clients};
INSERT INTO client_notes (client_id, body, created_at)
    SELECT 2 + MOD(seq * 7, {clients}), CONCAT('Call back; "', seq, '"\n\\o/'), '2025-01-01' + INTERVAL seq HOUR FROM seq_1_to_{clients};
INSERT INTO products (name, price_cents, weight_kg)
    SELECT CONCAT('Product ', seq), 250 + MOD(CRC32(seq), 20000), seq / 7 FROM seq_1_to_40;
INSERT INTO batches (code, product_id, received, units)
    SELECT CONCAT('B', LPAD(seq, 5, '0')), 1 + MOD(seq, 40), 100000, 100000 FROM seq_1_to_120;
INSERT INTO batches (code, product_id, received, units) VALUES ('SMOKE', 1, 1000, 1000);
INSERT INTO orders (client_id, status, total_cents, created_at)
    SELECT 2 + MOD(CRC32(seq), {clients}), ELT(1 + MOD(seq, 4), 'draft', 'confirmed', 'shipped', 'cancelled'), 0,
           NOW(3) - INTERVAL ({orders} - seq) MINUTE FROM seq_1_to_{orders};
INSERT INTO order_items (order_id, batch_id, quantity, unit_cents)
    SELECT 1 + MOD(seq, {orders}), 1 + MOD(CRC32(seq), 120), 1 + MOD(seq, 9), 250 + MOD(CRC32(seq * 3), 20000)
    FROM seq_1_to_{items};
UPDATE orders o SET total_cents = (SELECT SUM(quantity * unit_cents) FROM order_items i WHERE i.order_id = o.id);
INSERT INTO stock_movements (batch_id, delta, reason, reference)
    SELECT batch_id, -SUM(quantity), 'orders', NULL FROM order_items GROUP BY batch_id;
UPDATE batches b SET units = received + COALESCE((SELECT SUM(delta) FROM stock_movements m WHERE m.batch_id = b.id), 0);
INSERT INTO calendar_events (client_id, title, starts_at)
    SELECT 2 + MOD(seq, {clients}), CONCAT('Delivery ', seq), NOW() - INTERVAL 20 HOUR + INTERVAL seq HOUR FROM seq_1_to_200;
INSERT INTO audit_log (at, what, fingerprint)
    SELECT '2025-01-01' + INTERVAL MOD(seq, 50) HOUR, CONCAT('login ', MOD(seq, 50)), UNHEX(MD5(MOD(seq, 50))) FROM seq_1_to_200;
