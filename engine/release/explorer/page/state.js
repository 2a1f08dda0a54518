// What is being looked at, as it stands in the address: a link to it shows the same again.

export const CHOICES = ["stage", "origin", "split"];
export const RANGES = ["iou", "stability", "size"];
const PLAIN = { side: "0", picture: null, mask: null, page: "1", sort: "number", colour: null, masks: "on", opacity: "0.8" };

/** From an address' query. */
export function readState(query) {
  const asked = new URLSearchParams(query), state = { choices: {}, ranges: {} };
  for (const name in PLAIN) state[name] = asked.get(name) ?? PLAIN[name];
  for (const name of CHOICES) state.choices[name] = asked.getAll(name);
  for (const name of RANGES) state.ranges[name] = asked.get(name);
  return state;
}

/** The filters alone, as the server takes them. */
export function filterQuery(state) {
  const query = new URLSearchParams();
  for (const name of CHOICES) for (const value of state.choices[name]) query.append(name, value);
  for (const name of RANGES) if (state.ranges[name]) query.set(name, state.ranges[name]);
  return query;
}

/** The whole state; what is as usual is left out. */
export function writeState(state) {
  const query = filterQuery(state);
  for (const name in PLAIN) if (state[name] !== null && state[name] !== PLAIN[name]) query.set(name, state[name]);
  const text = query.toString();
  return text ? `?${text}` : "/";
}

export const hasFilters = state => filterQuery(state).toString() !== "";
