"use strict";
/* Makes the overview's columns sortable; without it the page is whole, in the order of the ranks. */
function readNumber(cell) {
  const first = cell.firstChild ? cell.firstChild.textContent : "";
  return parseFloat(first.replace("\u2212", "-").replace(/[,<]/g, ""));
}
function compareCells(a, b, isNumber) {
  if (!isNumber) return a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
  return readNumber(a) - readNumber(b);
}
function sortRows(rows, column, isNumber, direction) {
  const lacks = ({ cells }) => (isNumber ? Number.isNaN(readNumber(cells[column])) : cells[column].textContent === "–");
  const rank = (row) => (row.classList.contains("base") ? 0 : lacks(row) ? 2 : 1);
  return [...rows].sort((a, b) => rank(a) - rank(b) ||
    (rank(a) === 1 ? direction * compareCells(a.cells[column], b.cells[column], isNumber) : 0));
}
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const ranked = [...body.rows];
  heads.forEach((head, column) => {
    const isNumber = head.classList.contains("num");
    const orders = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = orders[orders.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const direction = next === "descending" ? -1 : 1;
      body.append(...(next ? sortRows(ranked, column, isNumber, direction) : ranked));
    });
  });
}
document.querySelectorAll(".overview table").forEach((table) => {
  if (table.tHead && table.tBodies[0].rows.length > 2) makeSortable(table);
});
