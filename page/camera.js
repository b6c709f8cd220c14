/** A photo from the camera, taken in a dialog that holds it for as long as it is open and no longer. */
import { say } from "./words.js";

const dialog = document.querySelector("#camera");
const video = document.querySelector("#camera-video");
const trouble = document.querySelector("#camera-trouble");
const take = document.querySelector("#camera-take");
const other = document.querySelector("#camera-other");

const WORDS = {
  NotAllowedError: "cameraRefused",
  SecurityError: "cameraRefused",
  NotFoundError: "cameraNone",
  OverconstrainedError: "cameraNone",
  NotReadableError: "cameraTaken",
  AbortError: "cameraTaken",
};

let facing = "user";
let ongoing; // ends the call of photograph() that is under way, with its photo
let newest; // start that was made: a camera that comes for an older one is let go of

function stop() {
  newest = undefined;
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

async function start() {
  stop();
  const mine = {};
  newest = mine;
  take.disabled = true;
  trouble.hidden = true;
  let stream;
  try {
    // Elsewhere than on https and on this machine itself a browser lets no page near the camera.
    if (!isSecureContext || !navigator.mediaDevices) throw new DOMException("", "insecure");
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } },
    });
    if (mine !== newest) {
      // The dialog was closed, or another camera asked for, before this one was there.
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    video.srcObject = stream;
    await video.play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (mine !== newest) return;
    other.hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
    const [track] = stream.getVideoTracks();
    video.classList.toggle("mirrored", (track.getSettings().facingMode ?? "user") === "user");
    take.disabled = false;
    take.focus();
  } catch (error) {
    if (mine !== newest) return;
    stop();
    trouble.textContent = say(WORDS[error.name] ?? "cameraInsecure");
    trouble.hidden = false;
  }
}

function frame() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => {
    canvas.toBlob((blob) => done(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.95);
  });
}

/** Answers the photo that is taken, as a File; undefined where none is. */
export function photograph() {
  ongoing?.(); // its dialog was closed just now, and the event of that is still to come
  return new Promise((done) => {
    const end = (taken) => {
      ongoing = undefined;
      stop();
      done(taken);
    };
    ongoing = end;
    take.onclick = async () => {
      const taken = await frame();
      if (ongoing !== end) return;
      end(taken);
      dialog.close();
    };
    dialog.showModal();
    start();
  });
}

dialog.addEventListener("close", () => {
  if (!dialog.open) ongoing?.(); // where it is open, this is the event of an earlier dialog
});
document.querySelector("#camera-close").addEventListener("click", () => dialog.close());
other.addEventListener("click", () => {
  facing = facing === "user" ? "environment" : "user";
  start();
});
