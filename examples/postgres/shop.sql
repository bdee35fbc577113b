-- A small shop: a table that is loaded whole, one that is loaded hour by hour, and one whose rows are updated and marked as gone.
CREATE TABLE devices (
    id integer PRIMARY KEY,
    name text NOT NULL,
    price numeric(10, 2) NOT NULL,
    tags text[] NOT NULL DEFAULT '{}'
);
INSERT INTO devices
SELECT n, 'device ' || n, n * 9.99, ARRAY['tag ' || n % 3] FROM generate_series(1, 50) n;

CREATE TABLE visits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device integer NOT NULL REFERENCES devices,
    page text,
    visited timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON visits (visited);
INSERT INTO visits (device, page, visited)
SELECT n % 50 + 1, '/page/' || n % 17, timestamptz '2024-01-01T00:00Z' + n * interval '43 seconds'
FROM generate_series(0, 3999) n;

CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    gone boolean NOT NULL DEFAULT false
);
CREATE INDEX ON customers (updated);
INSERT INTO customers
SELECT n, 'customer ' || n, timestamptz '2024-01-01T00:00Z' + n * interval '29 minutes', n % 10 = 0
FROM generate_series(1, 90) n;
