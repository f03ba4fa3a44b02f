// What is typed: /name option:value option:value. Commands are those that are registered, in Discord's form.

const subcommand = 1, group = 2;
const integer = 4, boolean = 5, user = 6, number = 10;

// leaves are all that can be used of the commands: {path, text, description, options}, with subcommands in their paths.
// Options that name a user have the users as their choices.
export function leaves(commands, users) {
  const all = [];
  const people = users.map((u) => ({ name: u.name, value: u.id }));
  const withUsers = (option) => (option.type === user ? { ...option, choices: people } : option);
  const walk = (command, path) => {
    const inner = (command.options ?? []).filter((o) => o.type === subcommand || o.type === group);
    for (const o of inner) walk(o, [...path, o]);
    if (inner.length === 0) all.push({ path, text: "/" + path.map((p) => p.name).join(" "), description: command.description ?? "", options: (command.options ?? []).map(withUsers) });
  };
  for (const command of commands) if ((command.type ?? 1) === 1) walk(command, [command]);
  return all.sort((a, b) => a.text.localeCompare(b.text));
}

// used returns the leaf that a text begins with, and the rest of the text.
function used(text, all) {
  const leaf = all.filter((l) => text === l.text || text.startsWith(l.text + " ")).sort((a, b) => b.text.length - a.text.length)[0];
  return { leaf, rest: leaf ? text.slice(leaf.text.length) : "" };
}

// values returns what is typed for each option, in order: [{option, value, at}]. A value goes on until the next option.
function values(rest, options) {
  const found = [];
  for (const m of rest.matchAll(/(?:^|\s)([^\s:]+):/g)) {
    const option = options.find((o) => o.name === m[1]);
    if (option && !found.some((f) => f.option === option)) found.push({ option, at: m.index, from: m.index + m[0].length });
  }
  return found.map((f, i) => ({ ...f, value: rest.slice(f.from, found[i + 1]?.at).trim() }));
}

// parse returns {name, options} for an interaction, or {fault} in words.
export function parse(text, all) {
  text = text.trim();
  if (!text.startsWith("/")) return { fault: "Here are only commands: type / to see them." };
  const { leaf, rest } = used(text, all);
  if (!leaf) return { fault: `There is no command ${text.split(" ")[0]}.` };
  const given = values(rest, leaf.options);
  const before = rest.slice(0, given[0]?.at).trim();
  if (before) return { fault: leaf.options.length ? `Write options as ${leaf.options[0].name}:value.` : `${leaf.text} has no options.` };
  const missing = leaf.options.find((o) => o.required && !given.some((g) => g.option === o && g.value !== ""));
  if (missing) return { fault: `${leaf.text} needs ${missing.name}:…` };
  const options = [];
  for (const { option, value } of given) {
    if (value === "") continue;
    const typed = typedValue(option, value);
    if (typed === undefined) return { fault: `${option.name}: ${expected(option)}` };
    options.push({ name: option.name, type: option.type, value: typed });
  }
  return { name: leaf.path[0].name, options: nested(leaf, options) };
}

// nested puts options into the subcommand that they are of.
function nested(leaf, options) {
  return leaf.path.slice(1).reduceRight((inner, p) => [{ name: p.name, type: p.type, options: inner }], options);
}

function typedValue(option, text) {
  const choice = option.choices?.find((c) => c.name === text || String(c.value) === text);
  if (option.choices?.length) return choice?.value;
  switch (option.type) {
    case integer: return /^-?\d{1,15}$/.test(text) ? within(option, Number(text)) : undefined;
    case number: return Number.isFinite(Number(text)) ? within(option, Number(text)) : undefined;
    case boolean: return { true: true, false: false }[text.toLowerCase()];
    default: return text;
  }
}

// within returns the value if it is in the option's bounds.
function within({ min_value: min = -Infinity, max_value: max = Infinity }, value) {
  return value >= min && value <= max ? value : undefined;
}

function expected(option) {
  if (option.choices?.length) return "choose one of " + option.choices.map((c) => c.name).join(", ");
  const bounds = [["from", option.min_value], ["to", option.max_value]].filter(([, n]) => n !== undefined).map((b) => " " + b.join(" ")).join("");
  return { [integer]: "a whole number" + bounds, [number]: "a number" + bounds, [boolean]: "true or false" }[option.type];
}

// complete returns what could be typed next: [{text, label, detail}]; and if the application knows more, {ask}, which is
// what it is asked: {name, options, insert}, where insert makes the text of a choice.
export function complete(text, all) {
  if (!text.startsWith("/")) return { list: [] };
  const { leaf, rest } = used(text, all);
  if (!leaf || rest === "") {
    return { list: all.filter((l) => l.text.startsWith(text) && l.text !== text).map((l) => ({ text: l.text + " ", label: l.text, detail: l.description })) };
  }
  const given = values(rest, leaf.options);
  const last = given.at(-1);
  const head = text.slice(0, text.length - rest.length);
  if (last && (!/\s$/.test(rest) || last.value === "")) {
    const insert = (value) => `${head}${rest.slice(0, last.from)}${value} `;
    const choices = last.option.choices ?? (last.option.type === boolean ? [{ name: "true" }, { name: "false" }] : []);
    const list = choices.filter((c) => c.name.toLowerCase().startsWith(last.value.toLowerCase()) && c.name !== last.value)
      .map((c) => ({ text: insert(c.name), label: c.name, detail: "" }));
    if (!last.option.autocomplete) return { list };
    const typed = given.slice(0, -1).map(({ option, value }) => ({ name: option.name, type: option.type, value: typedValue(option, value) }));
    const focused = { name: last.option.name, type: last.option.type, value: last.value, focused: true };
    const options = [...typed.filter((o) => o.value !== undefined && o.value !== ""), focused];
    return { list, ask: { name: leaf.path[0].name, options: nested(leaf, options), insert } };
  }
  const word = /\S*$/.exec(rest)[0];
  const open = leaf.options.filter((o) => !given.some((g) => g.option === o) && o.name.startsWith(word));
  return { list: open.map((o) => ({ text: text.slice(0, text.length - word.length) + o.name + ":", label: o.name + ":", detail: o.description + (o.required ? "" : " (optional)") })) };
}
