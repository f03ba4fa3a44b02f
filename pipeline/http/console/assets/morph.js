// Changes a part of a page into newer HTML by as little as possible, so that focus, selection, scrolling and what was
// opened stay as they are. Children that have a data-key are matched by it, all others by their order.

export function morph(target, html) {
  const next = document.createElement("template");
  next.innerHTML = html;
  const focused = target.contains(document.activeElement) ? document.activeElement : undefined;
  const around = focused?.closest(".scroll");
  children(target, next.content);
  if (!focused || document.activeElement === focused) return;
  // A row that was moved has lost the focus, and one that is gone leaves it to what is around it.
  [focused, around, document.getElementById("main")].find((e) => e?.isConnected)?.focus({ preventScroll: true });
}

// move moves a child in front of another. Where a browser can, what it moves keeps the focus all the time.
function move(parent, child, before) {
  if (parent.moveBefore) parent.moveBefore(child, before);
  else parent.insertBefore(child, before);
}

function children(from, to) {
  const keyed = new Map();
  for (const child of from.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let old = from.firstChild;
  for (const child of [...to.childNodes]) {
    const key = child.dataset?.key;
    let match = key ? keyed.get(key) : old;
    if (key && match && match !== old) move(from, match, old);
    if (match && alike(match, child)) {
      node(match, child);
      old = match.nextSibling;
    } else if (key || !old || old.dataset?.key) {
      from.insertBefore(child, old);
    } else {
      const after = old.nextSibling;
      old.replaceWith(child);
      old = after;
    }
  }
  while (old) {
    const after = old.nextSibling;
    old.remove();
    old = after;
  }
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;
}

function node(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (from.isEqualNode(to)) return;
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) {
    // What the reader has opened stays open.
    if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
  }
  children(from, to);
}
