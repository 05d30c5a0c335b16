import { describe, expect, it } from "@effect/vitest"
import { parse } from "../src/internal/statementLabel.js"

const writes: ReadonlyArray<readonly [sql: string, label: string]> = [
  ["INSERT INTO orders (id) VALUES (1)", "insert orders"],
  ["insert orders values (1)", "insert orders"],
  ["INSERT IGNORE INTO orders VALUES (1)", "insert orders"],
  ["INSERT LOW_PRIORITY IGNORE INTO `orders`(`id`) VALUES (?)", "insert orders"],
  ["INSERT INTO orders SELECT * FROM old", "insert orders"],
  ["INSERT INTO orders SET id = 1", "insert orders"],
  ["INSERT INTO orders (id) VALUES (?) ON DUPLICATE KEY UPDATE n = n + 1", "insert orders"],
  ["INSERT INTO orders PARTITION (p0) VALUES (1)", "insert orders"],
  ["REPLACE INTO shop.orders VALUES (1)", "replace orders"],
  ["REPLACE `shop` . `orders` VALUES (1)", "replace orders"],
  ["UPDATE orders SET id = 1", "update orders"],
  ["\n  UPDATE\n    LOW_PRIORITY IGNORE `sh``op`.`or``ders` AS o\n SET id = 1", "update or`ders"],
  ["UPDATE \"orders\" SET id = 1", "update orders"],
  ["UPDATE größe SET n = 1", "update größe"],
  ["/* app: x */ UPDATE /*+ NO_MERGE(t) */ orders # why\n SET id = 1", "update orders"],
  ["-- INSERT INTO other\nUPDATE orders SET id = 1", "update orders"],
  ["/*!50000 UPDATE x */ UPDATE orders SET id = 1", "update orders"],
  ["UPDATE orders o JOIN customer c ON c.id = o.customer SET o.name = c.name", "update orders"],
  ["UPDATE orders o JOIN customer c ON c.id = o.customer SET c.orders = c.orders + 1", "update customer"],
  ["UPDATE orders AS o INNER JOIN shop.customer USING (id) SET customer.orders = 1", "update customer"],
  ["UPDATE orders, customer SET orders.n = 1, customer.n = 2", "update orders"],
  [
    "UPDATE (SELECT id, (1) FROM other WHERE (a)) d JOIN orders USE INDEX (x) ON d.id = orders.id SET n = 1",
    "update orders"
  ],
  ["UPDATE (orders o JOIN customer c ON o.c = c.id) SET c.n = 1", "update customer"],
  ["UPDATE orders PARTITION (p0, p1) o SET o.n = 1", "update orders"],
  ["WITH a AS (SELECT 1 FROM b), c (x) AS (SELECT (2)) UPDATE orders SET n = 1", "update orders"],
  ["WITH RECURSIVE a AS (SELECT 1) DELETE FROM orders WHERE id IN (SELECT * FROM a)", "delete orders"],
  ["DELETE FROM orders", "delete orders"],
  ["DELETE FROM orders WHERE id = 1 ORDER BY id LIMIT 1", "delete orders"],
  ["DELETE QUICK IGNORE FROM shop.orders AS o WHERE o.id = 1", "delete orders"],
  ["DELETE FROM orders WHERE note = 'a USING b'", "delete orders"],
  ["DELETE o FROM orders AS o JOIN customer c ON c.id = o.customer", "delete orders"],
  ["DELETE c.*, o.* FROM orders o, customer c WHERE c.id = o.customer", "delete customer"],
  ["DELETE shop.orders FROM shop.orders JOIN x ON 1", "delete orders"],
  ["DELETE FROM c USING orders o JOIN customer AS c ON c.id = o.customer", "delete customer"],
  ["DELETE FROM c.* USING orders o JOIN customer AS c ON c.id = o.customer", "delete customer"],
  ["LOAD DATA LOCAL INFILE 'INTO TABLE x' IGNORE INTO TABLE orders (id)", "load orders"]
]

const others = [
  "",
  "   ",
  "/* never closed UPDATE orders SET",
  "SELECT * FROM orders FOR UPDATE",
  "SELECT 'UPDATE orders SET a = 1'",
  "WITH a AS (SELECT 1) SELECT * FROM a",
  "WITH a AS (SELECT 1",
  "SHOW TABLES",
  "CALL settle(1)",
  "DO 0",
  "RELEASE SAVEPOINT a",
  "ROLLBACK",
  "INSERT",
  "INSERT INTO",
  "INSERT INTO (",
  "UPDATE",
  "DELETE",
  "DELETE FROM",
  "DELETE a",
  "LOAD DATA INFILE 'x'"
]

describe("statementLabel", () => {
  it.each(writes)("the labels of a write are its real table and what is done to it: %s", (sql, label) => {
    const statement = parse(sql)
    expect(statement?._tag === "Write" ? `${statement.operation} ${statement.table}` : statement).toBe(label)
  })

  it.each(others)("what is no write, or no statement, has no labels: %s", (sql) => {
    expect(parse(sql)).toBeUndefined()
  })

  it("savepoints are told, and going back to them", () => {
    expect(parse("SAVEPOINT effect_sql_1")).toEqual({ _tag: "Savepoint", name: "effect_sql_1" })
    expect(parse("ROLLBACK TO SAVEPOINT `A`")).toEqual({ _tag: "RollbackTo", name: "a" })
    expect(parse("rollback work to a;")).toEqual({ _tag: "RollbackTo", name: "a" })
  })
})
