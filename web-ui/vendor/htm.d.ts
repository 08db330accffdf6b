import all from "htm";
export default all;
