'use strict';
// What it shows comes from strangers: text stays text, and nothing here makes markup of it.

const $ = (id) => document.getElementById(id);

/** An element of this class, with these children: elements or text. */
function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null));
  return element;
}

function button(className, label, onClick) {
  const element = make('button', className, label);
  element.type = 'button';
  element.addEventListener('click', onClick);
  return element;
}

/** An element of a drawing. */
function draw(name, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A time, told from now; exactly as its title. */
function when(iso) {
  const element = make('time');
  element.dateTime = iso;
  element.title = `${new Date(iso).toLocaleString()} (${iso})`;
  element.textContent = fromNow(iso);
  return element;
}

/** A time for a sentence, to the minute. */
function absolute(iso) {
  return new Date(iso).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

/** Tells all times within anew. */
function retell(root) {
  for (const element of root.querySelectorAll('time')) element.textContent = fromNow(element.dateTime);
}

/** By how many milliseconds the proxy's clock is ahead of this one's, where that is more than a moment. Records have times of the proxy. */
let ahead = 0;

/** Heeds the `Date` of an answer, which has whole seconds. */
function heedClock(date) {
  const difference = Date.parse(date) + 500 - Date.now();
  ahead = Math.abs(difference) > 2_000 ? difference : 0;
}

function fromNow(iso) {
  const seconds = Math.round((Date.now() + ahead - Date.parse(iso)) / 1000);
  const length = span(Math.abs(seconds), seconds < 0 ? Math.round : Math.floor);
  return seconds < 0 ? `in ${length}` : `${length} ago`;
}

function span(seconds, round) {
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60]]) {
    if (seconds >= 2 * size) return `${round(seconds / size)}${unit}`;
  }
  return `${seconds}s`;
}

function bytes(count) {
  if (count < 1024) return `${count} bytes`;
  return count < 1024 * 1024 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1048576).toFixed(1)} MiB`;
}

/** A paragraph that stands out: `good`, `warning` or `fault`. */
function notice(kind, ...text) {
  return make('p', kind, ...text);
}
