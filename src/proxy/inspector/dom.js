// What both other scripts of the page use. Plain scripts, in order, rather than modules: the browser
// sends `Origin` with a module, and the guard refuses whatever has one.
"use strict";

const byId = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const number = new Intl.NumberFormat("en");
