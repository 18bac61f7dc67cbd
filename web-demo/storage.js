// This file owns what the demo page remembers: `session` for one tab, `local` for the browser.

// A browser may refuse storage (private mode, blocked cookies); the page then works without memory.
function storage(name) {
  const attempt = (action) => { try { return action(window[name]); } catch { return null; } };
  return {
    get: (key) => attempt((store) => store.getItem(key)),
    set: (key, value) => attempt((store) => store.setItem(key, value)),
  };
}

export const session = storage('sessionStorage');
export const local = storage('localStorage');
