// A table wider than its place scrolls, and takes the keyboard's focus: without a mouse its right
// side could not be read otherwise. One that fits takes none.
function letTablesScroll() {
  for (const table of document.querySelectorAll(".bd-article table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
}
letTablesScroll();
addEventListener("load", letTablesScroll);
addEventListener("resize", letTablesScroll);
