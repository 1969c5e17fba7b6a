"use strict";
const here = document.body.dataset.here, said = document.getElementById("said");
const say = text => { said.textContent = text; };
for (const time of document.querySelectorAll("time")) {
  const when = new Date(time.dateTime);
  if (!isNaN(when)) { time.textContent = when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" }); time.title = time.dateTime; }
}
async function dav(method, address, headers, body) {
  const answer = await fetch(address, { method, headers, body });
  if (answer.ok) return answer;
  const told = await answer.text();  // XML, for programs, tells a person why in a comment.
  const text = (/!-- ([^]*?) --/.exec(told)?.[1] ?? told.replace(/<[^>]*>/g, " ")).trim();
  throw Object.assign(new Error(text || answer.statusText), { status: answer.status });
}
async function act(doing, work, done) {
  say(doing);
  try { await work(); } catch (error) { return say(error.message); }
  if (done) say(done); else location.reload();
}
const name = text => encodeURIComponent(text.normalize("NFC"));
async function put(file, folder) {
  const where = folder + name(file.name), headers = { "X-OC-Mtime": String(Math.floor(file.lastModified / 1000)) };
  try { await dav("PUT", where, { ...headers, "If-None-Match": "*" }, file); }
  catch (error) {
    if (error.status !== 412) throw error;
    if (confirm(`Replace ${file.name}?`)) await dav("PUT", where, headers, file);
  }
}
async function upload(files) {
  await act("", async () => {
    let count = 0;
    for (const file of files) { say(`Uploading ${file.name} (${++count} of ${files.length})`); await put(file, here); }
  });
}
const promised = (of, how) => new Promise((done, failed) => of[how](done, failed));
async function carry(entry, folder) {  // What was dropped: a file, or a folder with all that is in it.
  if (entry.isFile) { say(`Uploading ${entry.name}`); return put(await promised(entry, "file"), folder); }
  const inside = folder + name(entry.name) + "/", reader = entry.createReader();
  await dav("MKCOL", inside).catch(error => { if (error.status !== 405) throw error; });
  for (let some; (some = await promised(reader, "readEntries")).length;) for (const one of some) await carry(one, inside);
}
const files = document.getElementById("files");
if (files) files.addEventListener("change", () => upload([...files.files]));
const folder = document.getElementById("folder");
if (folder) folder.addEventListener("click", () => {
  const text = prompt("Name of the new folder");
  if (text) act(`Making ${text}`, () => dav("MKCOL", here + name(text) + "/"));
});
const version = document.getElementById("version");
if (version) version.addEventListener("click", () => {
  const text = prompt("A label for this version");
  if (text) act("Taking a version", () => dav("MKCOL", version.dataset.in + name("@" + text.replace(/^@/, "")) + "/"));
});
for (const button of document.querySelectorAll("[data-restore]")) button.addEventListener("click", () => {
  const { restore, to } = button.dataset, source = new URL(restore, location).href, target = new URL(to, location).href;
  if (confirm("Put this in the place of what is there now?"))
    act("Restoring", () => dav("COPY", source, { Destination: target, Overwrite: "T" }), "Restored.");
});
if (document.body.dataset.writable === "yes") {
  let over = 0;
  addEventListener("dragenter", event => { event.preventDefault(); over++; document.body.classList.add("over"); });
  addEventListener("dragleave", () => { if (--over <= 0) document.body.classList.remove("over"); });
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => {
    event.preventDefault(); over = 0; document.body.classList.remove("over");
    const dropped = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(entry => entry);
    if (dropped.length) act("", async () => { for (const entry of dropped) await carry(entry, here); });
  });
}
