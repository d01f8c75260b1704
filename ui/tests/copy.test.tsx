import { fireEvent, render, screen } from "@testing-library/react";
import { expect, it, vi } from "vitest";
import { Copyable } from "../src/parts/small";

const press = () => fireEvent.click(screen.getByRole("button", { name: "Copy the id" }));

it("copies with the Clipboard API where there is one", async () => {
  const writeText = vi.fn(() => Promise.resolve());
  vi.stubGlobal("navigator", { clipboard: { writeText } });
  render(<Copyable text="wf-1" what="the id" />);
  press();
  expect((await screen.findByText("copied")).getAttribute("role")).toBe("status");
  expect(writeText).toHaveBeenCalledWith("wf-1");
});

it.each([
  ["not there, as on plain http", undefined],
  ["refused", { writeText: () => Promise.reject(new Error("not allowed")) }],
])("copies from a text field where the API is %s", async (_, clipboard) => {
  vi.stubGlobal("navigator", { clipboard });
  let copied = "";
  document.execCommand = vi.fn(() => {
    copied = (document.activeElement as HTMLTextAreaElement).value;
    return true;
  });
  render(<Copyable text="wf-1" what="the id" />);
  screen.getByRole("button").focus();
  press();
  await screen.findByText("copied");
  expect(copied).toBe("wf-1");
  expect(document.querySelector("textarea")).toBeNull();
  expect(document.activeElement).toBe(screen.getByRole("button"));
});

it("says so when nothing works", async () => {
  vi.stubGlobal("navigator", {});
  document.execCommand = vi.fn(() => false);
  render(<Copyable text="wf-1" what="the id" />);
  press();
  expect(await screen.findByText("select it and copy it by hand")).toBeTruthy();
});
