CREATE TABLE users (
    id INT PRIMARY KEY AUTO_INCREMENT,
    email VARCHAR(120) NOT NULL UNIQUE,
    password_hash CHAR(64) NOT NULL,
    role ENUM('admin', 'manager', 'clerk') NOT NULL,
    is_test BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE TABLE sessions (
    token_hash CHAR(64) PRIMARY KEY,
    user_id INT NOT NULL,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE clients (
    id INT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(120) NOT NULL,
    city VARCHAR(80) CHARACTER SET utf8mb4 NOT NULL,
    is_test BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE TABLE client_notes (
    id INT PRIMARY KEY AUTO_INCREMENT,
    client_id INT NOT NULL,
    body TEXT NOT NULL,
    reference VARCHAR(80) UNIQUE,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    FOREIGN KEY (client_id) REFERENCES clients (id)
);
CREATE TABLE products (
    id INT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(120) NOT NULL,
    price_cents INT NOT NULL,
    weight_kg DOUBLE NOT NULL
);
CREATE TABLE batches (
    id INT PRIMARY KEY AUTO_INCREMENT,
    code VARCHAR(40) NOT NULL UNIQUE,
    product_id INT NOT NULL,
    received INT NOT NULL,
    units INT NOT NULL,
    FOREIGN KEY (product_id) REFERENCES products (id)
);
CREATE TABLE stock_movements (
    id INT PRIMARY KEY AUTO_INCREMENT,
    batch_id INT NOT NULL,
    delta INT NOT NULL,
    reason VARCHAR(40) NOT NULL,
    reference VARCHAR(80),
    UNIQUE (reference, batch_id, reason),
    FOREIGN KEY (batch_id) REFERENCES batches (id)
);
CREATE TABLE orders (
    id INT PRIMARY KEY AUTO_INCREMENT,
    client_id INT NOT NULL,
    status ENUM('draft', 'confirmed', 'shipped', 'cancelled') NOT NULL DEFAULT 'draft',
    total_cents BIGINT NOT NULL,
    note TEXT,
    reference VARCHAR(80) UNIQUE,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    FOREIGN KEY (client_id) REFERENCES clients (id)
);
CREATE TABLE order_items (
    id INT PRIMARY KEY AUTO_INCREMENT,
    order_id INT NOT NULL,
    batch_id INT NOT NULL,
    quantity INT NOT NULL,
    unit_cents INT NOT NULL,
    FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
    FOREIGN KEY (batch_id) REFERENCES batches (id)
);
CREATE TABLE calendar_events (
    id INT PRIMARY KEY AUTO_INCREMENT,
    client_id INT NOT NULL,
    title VARCHAR(160) NOT NULL,
    starts_at DATETIME NOT NULL,
    reference VARCHAR(80) UNIQUE,
    FOREIGN KEY (client_id) REFERENCES clients (id)
);
CREATE TABLE audit_log (
    at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    what VARCHAR(80) NOT NULL,
    fingerprint BINARY(16)
);
CREATE VIEW open_orders AS SELECT id, client_id, total_cents FROM orders WHERE status IN ('draft', 'confirmed');
CREATE TRIGGER batches_never_negative BEFORE UPDATE ON batches FOR EACH ROW
    SET NEW.units = IF(NEW.units < 0, NULL, NEW.units);
